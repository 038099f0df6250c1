#include "crew.h"

#include <errno.h>

/* Called and left with the lock held; during a piece it is free. */
static void do_pieces(struct crew *c, struct crew_work *w)
{
        while (w->next < w->n && w->r >= 0) {
                size_t i = w->next++;
                int r;

                w->active++;
                pthread_mutex_unlock(&c->link->lock);
                r = w->piece(w->user, i);
                pthread_mutex_lock(&c->link->lock);
                w->active--;
                if (r < 0 && w->r >= 0)
                        w->r = r;
        }
        if (w->active == 0)
                pthread_cond_broadcast(&c->link->changed);
}

void crew_begin(struct crew *c, struct crew_work *w)
{
        pthread_mutex_lock(&c->link->lock);
        w->next = w->active = 0;
        w->r = 0;
        c->work = w;
        pthread_mutex_unlock(&c->link->lock);
        link_wake(c->link);
}

static int finish(struct crew *c, struct crew_work *w)
{
        while (w->active > 0)
                pthread_cond_wait(&c->link->changed, &c->link->lock);
        c->work = NULL;
        return w->r;
}

int crew_join(struct crew *c, struct crew_work *w)
{
        int r;

        pthread_mutex_lock(&c->link->lock);
        do_pieces(c, w);
        r = finish(c, w);
        pthread_mutex_unlock(&c->link->lock);
        return r;
}

void crew_cancel(struct crew *c, struct crew_work *w)
{
        pthread_mutex_lock(&c->link->lock);
        if (w->r >= 0)
                w->r = -ECANCELED;
        finish(c, w);
        pthread_mutex_unlock(&c->link->lock);
}

void crew_help(struct crew *c)
{
        pthread_mutex_lock(&c->link->lock);
        if (c->work)
                do_pieces(c, c->work);
        pthread_mutex_unlock(&c->link->lock);
}
