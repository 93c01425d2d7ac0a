/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contrib/control-plane/http/router.h"

int router_add(struct router *router, const struct http_route *routes, void *userdata)
{
	struct router_table table = { .routes = routes, .userdata = userdata };
	struct router_table *tables;

	while (routes[table.n_routes].method)
		table.n_routes++;
	tables = reallocarray(router->tables, router->n_tables + 1, sizeof(*tables));
	if (!tables)
		return -ENOMEM;
	router->tables = tables;
	table.answers = calloc(table.n_routes + 1, sizeof(*table.answers));
	if (!table.answers)
		return -ENOMEM;
	tables[router->n_tables++] = table;
	return 0;
}

void router_done(struct router *router)
{
	for (size_t i = 0; i < router->n_tables; i++)
		free(router->tables[i].answers);
	free(router->tables);
	*router = (struct router){ 0 };
}

int router_find(const struct router *router, const char *method, const struct uri *uri,
	struct router_match *ret)
{
	bool found_path = false;

	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	for (size_t i = 0; i < router->n_tables; i++) {
		const struct router_table *table = &router->tables[i];

		for (size_t j = 0; j < table->n_routes; j++) {
			const struct http_route *route = &table->routes[j];

			if (!uri_matches(uri, route->pattern))
				continue;
			found_path = true;
			if (strcmp(route->method, method) != 0)
				continue;
			*ret = (struct router_match){ route, table->userdata, &table->answers[j] };
			return 0;
		}
	}
	return found_path ? ROUTER_NO_METHOD : ROUTER_NO_PATH;
}

const char *router_allow(
	const struct router *router, const struct uri *uri, char text[static ROUTER_ALLOW_MAX])
{
	static const char *const methods[] = { "GET", "POST", "PUT", "DELETE" };
	struct router_match match;

	text[0] = '\0';
	for (size_t i = 0; i < N_ELEMENTS(methods); i++) {
		if (router_find(router, methods[i], uri, &match) != 0)
			continue;
		if (text[0])
			strcat(text, ", ");
		strcat(text, methods[i]);
		if (i == 0)
			strcat(text, ", HEAD");
	}
	return text;
}

void answers_add(struct answers *answers, unsigned status, uint64_t usec)
{
	unsigned class = status / 100;

	if (class < 1 || class > STATUS_CLASSES)
		return;
	answers->n[class - 1]++;
	answers->usec[class - 1] += usec;
}
