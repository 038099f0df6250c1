/* Describe: another manifest from the next step on.  New slots are laid out; what is complete in
 * the old ones stays valid with the daemon. */
#include "client.h"
#include "swap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static unsigned generation(struct ckpt *c)
{
        unsigned g;

        pthread_mutex_lock(&c->link.lock);
        g = c->link.generation;
        pthread_mutex_unlock(&c->link.lock);
        return g;
}

static int ask(struct ckpt *c, int manifest_fd, struct wire_result *ret, struct diag *d)
{
        struct link_ask a = {.method = "io.ckptd.Jobs.Describe", .fd = manifest_fd};
        int r;

        a.parameters = json_pack("{s:i}", "manifest_fd", 0);
        r = a.parameters ? link_call(&c->link, &a, LINK_AWAY_MS, ret, d) : -ENOMEM;
        json_decref(a.parameters);
        return r;
}

/* The page goes on: the new image borrows it while the reply is read. */
static int make_image(struct ckpt *c, const struct tensors *t, struct wire_result *result,
                      struct image **ret, struct diag *d)
{
        struct image *i;
        int r = image_new(&i, -1);

        if (r < 0)
                return r;
        i->page = c->image->page;
        i->page_fd = fcntl(c->image->page_fd, F_DUPFD_CLOEXEC, 0);
        r = image_take_reply(i, t, result->reply.parameters, &result->message, d);
        if (r >= 0 && i->mode == IMAGE_READER)
                r = diag_set(d, -EPROTO, "the daemon's answer is not understood");
        if (r < 0) {
                i->page = NULL;
                image_free(i);
                return r;
        }
        *ret = i;
        return 0;
}

static int describe(struct ckpt *c, struct tensors **t, struct diag *d)
{
        _cleanup_(closep) int manifest_fd = tensors_manifest(*t, d);
        struct wire_result result;
        struct image *next;
        unsigned g;
        int r = manifest_fd < 0 ? manifest_fd : ask(c, manifest_fd, &result, d);

        if (r < 0)
                return r;
        swap_pending(c);
        g = generation(c);
        r = make_image(c, *t, &result, &next, d);
        wire_result_done(&result);
        if (r < 0)
                return r;
        next->manifest_fd = take_fd(&manifest_fd);
        helper_populate(c, next);
        swap_described(c, next, take_ptr(*t));
        link_restart(&c->link, g); /* a daemon that came just now was offered the old slots */
        return 0;
}

static int change(struct ckpt *c, const struct ckpt_tensor *t, size_t n, struct diag *d)
{
        _cleanup_(tensors_freep) struct tensors *new = NULL;
        int r = tensors_new(&new, t, n, d);

        if (r < 0)
                return r;
        if (tensors_same(new, c->tensors)) {
                tensors_free(c->tensors);
                c->tensors = take_ptr(new);
                return 0;
        }
        if (c->who.read_only)
                return diag_set(d, -ENOTSUP, "a reader attaches anew for another set of tensors");
        return describe(c, &new, d);
}

int ckpt_describe(struct ckpt *c, const struct ckpt_tensor *t, size_t n)
{
        _cleanup_(diag_done) struct diag d = {0};
        int r;

        if (!c->rank->alive)
                return 0;
        if (!client_is_attached(c))
                return client_refuse(c, -ENOTCONN, "not attached");
        if (c->snapshot.open)
                return client_refuse(c, -EBUSY, "call ckpt_save_end first");
        r = change(c, t, n, &d);
        c->stale = r < 0;
        return r < 0 ? client_fail(c, r, &d) : 0;
}
