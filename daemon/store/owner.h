/* Who a model directory belongs to: .ckptd/owner, written in place under an OFD lock, which the
 * kernel drops with the process.  On a local file system the lock alone decides; on a network one
 * the mark's age does too, since locks of a dead host may stay and those of another host may not be
 * seen. */
#pragma once

#include "diag.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct store_dir;

#define OWNER_STALE_MS (2 * 60 * 1000) /* without renewal, by the file server's clock */

enum owner_lock {
        OWNER_LOCK_FREE,
        OWNER_LOCK_HELD,
        OWNER_LOCK_MISSING /* the file system has none */
};

struct owner_facts {
        enum owner_lock lock;
        bool is_network, take_over;
        bool has_mark;     /* somebody's mark is there */
        bool same_machine; /* host and machine id */
        bool same_boot;
        bool same_instance; /* uid and socket */
        int64_t age_ms;     /* of the mark */
};
/* Pure: may this daemon take the directory? */
bool owner_may_take(const struct owner_facts *f);

/* -EBUSY: the diag names pid, host and socket; *ret_pid: its pid, 0 unknown. */
int owner_take(struct store_dir *d, bool take_over, pid_t *ret_pid, struct diag *diag);
/* Writes the mark anew; -EBUSY: another daemon has taken over. */
int owner_renew(struct store_dir *d, struct diag *diag);
/* Is the directory still ours?  Asks only where the lock alone does not say. */
int owner_check(struct store_dir *d, struct diag *diag);
void owner_release(struct store_dir *d);
