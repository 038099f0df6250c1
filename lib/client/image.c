#include "image.h"

#include "buffer.h"
#include "fds.h"
#include "io.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define MEMORY_PAGE_BYTES 4096

int image_new(struct image **ret, int manifest_fd)
{
        struct image *i = calloc(1, sizeof(*i));

        if (!i) {
                if (manifest_fd >= 0)
                        close(manifest_fd);
                return -ENOMEM;
        }
        i->manifest_fd = manifest_fd;
        i->page_fd = i->layout_fd = -1;
        *ret = i;
        return 0;
}

static void close_fd(int *fd)
{
        if (*fd >= 0)
                close(take_fd(fd));
}

void image_drop_slots(struct image *i)
{
        for (size_t k = 0; k < i->n_slots; k++) {
                if (i->slots[k].memory)
                        munmap(i->slots[k].memory, i->slots[k].bytes);
                close_fd(&i->slots[k].fd);
        }
        i->n_slots = 0;
        close_fd(&i->manifest_fd);
        close_fd(&i->page_fd);
        close_fd(&i->layout_fd);
}

void image_free(struct image *i)
{
        if (!i)
                return;
        image_drop_slots(i);
        if (i->page)
                munmap(i->page, PAGE_BYTES);
        free(i->offsets);
        free(i->messages);
        free(i);
}

static int map_shared(int fd, uint64_t bytes, void **ret)
{
        void *p = NULL;
        int r = fds_memfd_check(fd, bytes);

        if (r < 0)
                return r;
        r = fds_map_shared(fd, bytes, &p);
        if (r < 0)
                return r;
        madvise(p, bytes, MADV_DONTFORK);
        *ret = p;
        return 0;
}

static int take_page(struct image *i, struct wire_message *m, int index, struct diag *d)
{
        void *p = NULL;
        int r;

        i->page_fd = wire_message_take_fd(m, index);
        r = i->page_fd < 0 ? i->page_fd : map_shared(i->page_fd, PAGE_BYTES, &p);
        if (r < 0)
                return diag_set(d, r, "the daemon's control page cannot be mapped: %s",
                                strerror(-r));
        i->page = p;
        r = page_check(i->page);
        if (r == -EPROTONOSUPPORT)
                return diag_set(d, r,
                                "the daemon's control page has version %u, this library knows %u",
                                i->page->head.major, PAGE_MAJOR);
        return r < 0 ? diag_set(d, r, "the daemon's control page is not one") : 0;
}

static int check_offsets(const struct image *i, const struct tensors *t)
{
        for (size_t k = 0; k < t->n; k++) {
                uint64_t end;

                if (i->offsets[k] == -1)
                        continue;
                if (i->offsets[k] < 0 ||
                    __builtin_add_overflow((uint64_t)i->offsets[k], t->bytes[k], &end) ||
                    end > i->data_bytes)
                        return -EPROTO;
        }
        return 0;
}

static int take_layout(struct image *i, const struct tensors *t, struct wire_message *m, int index)
{
        int r;

        i->layout_fd = wire_message_take_fd(m, index);
        if (i->layout_fd < 0)
                return i->layout_fd;
        i->n = t->n;
        i->offsets = calloc(t->n + 1, sizeof(*i->offsets));
        if (!i->offsets)
                return -ENOMEM;
        r = io_read_all(&io_real, i->layout_fd, i->offsets, t->n * sizeof(*i->offsets), 0);
        return r < 0 ? r : check_offsets(i, t);
}

static int take_slot(struct image *i, json_t *slot, struct wire_message *m)
{
        struct image_slot *s = &i->slots[i->n_slots];
        json_int_t index, bytes, data_bytes = (json_int_t)i->data_bytes;
        void *p = NULL;
        int r;

        if (i->n_slots == PAGE_SLOTS ||
            json_unpack(slot, "{s:I, s:I}", "fd", &index, "bytes", &bytes) < 0)
                return -EPROTO;
        if (bytes < (i->mode == IMAGE_SLOTS ? data_bytes : 1))
                return -EPROTO;
        *s = (struct image_slot){.fd = wire_message_take_fd(m, index), .bytes = (uint64_t)bytes};
        if (s->fd < 0)
                return s->fd;
        i->n_slots++;
        if (s->bytes == 0)
                return 0;
        r = map_shared(s->fd, s->bytes, &p);
        if (r < 0)
                return r;
        s->memory = p;
        return 0;
}

static int take_slots(struct image *i, json_t *slots, struct wire_message *m)
{
        size_t k;
        json_t *slot;
        int r;

        json_array_foreach (slots, k, slot) {
                r = take_slot(i, slot, m);
                if (r < 0)
                        return r;
        }
        return i->n_slots > 0 ? 0 : -EPROTO;
}

static int take_messages(struct image *i, json_t *messages)
{
        struct buffer b = {0};
        size_t k;
        json_t *line;
        int r = buffer_append(&b, "", 0);

        json_array_foreach (messages, k, line) {
                const char *text = json_string_value(line);

                if (r >= 0 && text)
                        r = buffer_printf(&b, "%s%s", b.len > 0 ? "\n" : "", text);
        }
        free(i->messages);
        i->messages = r < 0 ? NULL : buffer_take(&b);
        buffer_done(&b);
        return r < 0 ? r : i->messages ? 0 : -ENOMEM;
}

static int take_mode(struct image *i, const char *mode)
{
        static const struct {
                const char *name;
                enum image_mode mode;
        } modes[] = {{"slots", IMAGE_SLOTS}, {"window", IMAGE_WINDOW}, {"reader", IMAGE_READER}};

        for (size_t k = 0; k < ARRAY_SIZE(modes); k++)
                if (!strcmp(mode, modes[k].name)) {
                        i->mode = modes[k].mode;
                        return 0;
                }
        return -EPROTO;
}

int image_take_reply(struct image *i, const struct tensors *t, json_t *parameters,
                     struct wire_message *m, struct diag *d)
{
        const char *mode;
        json_int_t data_bytes = 0;
        int page = -1, layout = -1, r;
        json_t *slots = NULL, *messages = NULL;

        if (json_unpack(parameters, "{s:s, s?i, s?i, s?I, s?o, s?o}", "mode", &mode, "page_fd",
                        &page, "layout_fd", &layout, "data_bytes", &data_bytes, "slots", &slots,
                        "messages", &messages) < 0 ||
            data_bytes < 0 || take_mode(i, mode) < 0)
                return diag_set(d, -EPROTO, "the daemon's answer is not understood");
        r = take_messages(i, messages);
        if (r < 0 || i->mode == IMAGE_READER)
                return r;
        i->data_bytes = (uint64_t)data_bytes;
        if (page >= 0 || !i->page)
                r = take_page(i, m, page, d);
        if (r < 0)
                return r;
        r = take_layout(i, t, m, layout);
        if (r >= 0)
                r = take_slots(i, slots, m);
        return r < 0 ? diag_set(d, r, "the daemon's layout or slots cannot be used: %s",
                                strerror(-r))
                     : 0;
}

static uint64_t parts_of(const struct image_slot *s)
{
        return (s->bytes + IMAGE_POPULATE_BYTES - 1) / IMAGE_POPULATE_BYTES;
}

size_t image_n_parts(const struct image *i)
{
        uint64_t n = 0;

        for (size_t k = 0; k < i->n_slots; k++)
                n += parts_of(&i->slots[k]);
        return n;
}

/* For kernels before 5.14.  Changes no byte, also when the daemon writes beside us. */
static void touch(uint8_t *p, uint64_t n)
{
        for (uint64_t at = 0; at < n; at += MEMORY_PAGE_BYTES)
                __atomic_fetch_or(p + at, 0, __ATOMIC_RELAXED);
}

void image_populate_part(const struct image *i, size_t part)
{
        const struct image_slot *s = i->slots;
        uint64_t at, n;

        while (part >= parts_of(s))
                part -= parts_of(s++);
        at = part * IMAGE_POPULATE_BYTES;
        n = s->bytes - at < IMAGE_POPULATE_BYTES ? s->bytes - at : IMAGE_POPULATE_BYTES;
        if (madvise(s->memory + at, n, MADV_POPULATE_WRITE) < 0 && errno == EINVAL)
                touch(s->memory + at, n);
}
