/* Attaching again after the daemon was away: dials with a growing pause, offers page and slots,
 * and goes on with them or with what the daemon gave instead.  The helper's own; never waits for
 * an answer. */
#pragma once

#include "client.h"

#define AGAIN_FIRST_MS 50
#define AGAIN_MAX_MS 5000
#define AGAIN_SEND_MS 5000

struct again {
        struct wire_conn *conn;      /* NULL: none under way */
        const struct image *offered; /* what was offered over it */
        int64_t next_ms, delay_ms;   /* when to dial next; the pause after that */
        bool bare;                   /* offer nothing: the last offer could not be used */
};

void again_tend(struct ckpt *c, struct again *a);
void again_done(struct again *a);
/* How long the helper may sleep, in milliseconds; negative: until something happens. */
int again_timeout_ms(const struct ckpt *c, const struct again *a);
