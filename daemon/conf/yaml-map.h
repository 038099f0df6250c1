/* The maps of a YAML tree: keys sorted for look-up, merge keys (<<) applied as YAML 1.1 defines
 * them. Part of yaml-tree.h, whose nodes it works on; owns nothing. */
#pragma once

#include "yaml-tree.h"

/* The map is complete: `n` becomes pairs, `<<` gives way to the pairs that it merges.  -EBADMSG,
 * -ENOMEM. */
int yaml_map_close(struct yaml_node *map, struct yaml_error *ret_error);
