/* What the daemon gave to one rank for one manifest: control page, layout, slots; all of it
 * mapped memory. Owned by the struct ckpt; the helper thread makes them and unmaps them, the
 * training thread uses them, and a page stays mapped until the end, since other threads ask it
 * whether to stop. */
#pragma once

#include "cleanup.h"
#include "conn.h"
#include "diag.h"
#include "page.h"
#include "tensors.h"

#define IMAGE_POPULATE_BYTES ((uint64_t)32 << 20) /* populated by one call */

enum image_mode { IMAGE_READER, IMAGE_SLOTS, IMAGE_WINDOW };

struct image_slot {
        int fd;
        uint8_t *memory;
        uint64_t bytes;
};

struct image {
        enum image_mode mode;
        int manifest_fd, page_fd, layout_fd; /* kept to be offered again; -1: none */
        struct page *page;                   /* NULL: a reader, or it went to the next image */
        size_t n;
        int64_t *offsets; /* of each tensor in the data file; -1: a lower rank stores it */
        uint64_t data_bytes;
        size_t n_slots;
        struct image_slot slots[PAGE_SLOTS];
        char *messages;     /* a line each; "" */
        struct image *next; /* ckpt::retired */
};

/* manifest_fd is owned by the image from here on; -1: none. */
int image_new(struct image **ret, int manifest_fd);
void image_free(struct image *i);
DEFINE_FREEP(struct image, image_free)
void image_drop_slots(
        struct image *i); /* unmaps the slots and closes all descriptors; the page stays */

/* Takes page, layout and slots out of the parameters of a reply to Attach or Describe and maps
 * them. -EPROTO: not what it should be. */
int image_take_reply(struct image *i, const struct tensors *t, json_t *parameters,
                     struct wire_message *m, struct diag *d);
/* Touches a part of the mapped slots, numbered from 0, so that the first copy finds them
 * populated. */
size_t image_n_parts(const struct image *i);
void image_populate_part(const struct image *i, size_t part);
