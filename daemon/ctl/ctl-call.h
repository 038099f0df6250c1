/* Calls of io.ckptd.Admin: finding the daemon, one call, and what its errors mean to people and
 * to scripts. Owned by the command that calls; a connection is used for one call at a time. */
#pragma once

#include "ctl.h"
#include "dial.h"

#define CTL_CALL_MS (30 * 1000) /* for an answer that needs no work */

/* CTL_DONE; else told already: CTL_NO_DAEMON names every place that was tried. */
int ctl_connect(const struct ctl *c, struct wire_conn **ret);
/* Connects and calls; parameters are stolen.  CTL_DONE with *ret (wire_result_done), else told
 * already. */
int ctl_ask(const struct ctl *c, const char *method, json_t *parameters, struct wire_result *ret);
/* Tells why a call has no answer, or which error it is.  CTL_DONE when there is nothing to tell. */
int ctl_tell_failure(int r, const struct wire_result *result);
/* Is the reply this error of io.ckptd.Admin ("NoJob")? */
bool ctl_is_error(const struct wire_reply *reply, const char *name);
