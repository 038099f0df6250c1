/* The methods of the two interfaces, a table each: parameters decoded by table, then one call of
 * the manager. To add one: declare it in lib/wire's .varlink text, add its row and its manager
 * call. */
#pragma once

#include "server.h"

extern const struct rpc_method methods_jobs[], methods_admin[];
