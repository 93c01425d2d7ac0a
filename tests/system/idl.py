# SPDX-License-Identifier: GPL-3.0-or-later
"""Varlink's interface definitions: read, and values checked against them (https://varlink.org)."""

import re

TOKEN = re.compile(r"\s*(?:#[^\n]*\n\s*)*(->|\[\]|\[string\]|[?():,]|[A-Za-z][A-Za-z0-9_.]*)")
BASIC = {"int": int, "string": str, "bool": bool, "float": (int, float), "object": object}


class Interface:
    """types, methods (name: (input, output)) and errors; a struct is {name: type}."""

    def __init__(self, text):
        self._tokens = []
        at, end = 0, len(re.sub(r"\s*(#[^\n]*\s*)*$", "", text))
        while at < end:
            token = TOKEN.match(text, at)
            assert token, f"no token at {text[at:at + 40]!r}"
            self._tokens.append(token.group(1))
            at = token.end()
        self.types, self.methods, self.errors = {}, {}, {}
        assert self._take() == "interface"
        self.name = self._take()
        while self._tokens:
            self._member()

    def _take(self, wanted=None):
        token = self._tokens.pop(0)
        assert wanted in (None, token), f"{token} where {wanted} should be"
        return token

    def _member(self):
        kind, name = self._take(), self._take()
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", name), name
        assert name not in {**self.types, **self.methods, **self.errors}, f"{name} twice"
        if kind == "method":
            given = self._struct()
            self._take("->")
            self.methods[name] = given, self._struct()
        else:
            {"type": self.types, "error": self.errors}[kind][name] = self._struct()

    def _struct(self):
        fields = {}
        self._take("(")
        while self._tokens[0] != ")":
            if fields:
                self._take(",")
            name = self._take()
            assert re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", name) and name not in fields, name
            self._take(":")
            fields[name] = self._type()
        self._take(")")
        return fields

    def _type(self):
        token = self._tokens[0]
        if token in ("?", "[]", "[string]"):
            return self._take(), self._type()
        return self._struct() if token == "(" else self._take()

    def check(self, value, type, where="reply"):
        """Fails unless the value is of the type, and has no member that the type lacks."""
        if isinstance(type, tuple):
            self._check_wrapped(value, type, where)
        elif isinstance(type, dict):
            assert isinstance(value, dict), where
            assert set(value) <= set(type), f"{where}: {set(value) - set(type)} is not declared"
            for name, member in type.items():
                self.check(value.get(name), member, f"{where}.{name}")
        elif type in BASIC:
            assert value is not None and isinstance(value, BASIC[type]), f"{where}: {value!r}"
            assert not (type == "int" and isinstance(value, bool)), where
        else:
            self.check(value, self.types[type], where)

    def _check_wrapped(self, value, type, where):
        kind, inner = type
        if kind == "?":
            if value is not None:
                self.check(value, inner, where)
            return
        assert isinstance(value, list if kind == "[]" else dict), f"{where}: {value!r}"
        for member in value if kind == "[]" else value.values():
            self.check(member, inner, where + "[]")
