/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What a store's file holds, in SQL. */

#include "contrib/control-plane/store/database.h"

/* Applied in order; user_version counts those that were. */
extern const char *const database_migrations[];
extern const int database_n_migrations;

/* By enum database_statement. */
extern const char *const database_statements[DATABASE_STATEMENT_COUNT];
