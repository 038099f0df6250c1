#include "own.h"

#include <string.h>

void answer_failed(struct rpc_call *c, int r, const char *text)
{
        rpc_fail(c, "io.ckptd.Jobs.Failed",
                 json_pack("{s:i, s:s}", "errno", -r, "message", text ? text : strerror(-r)));
}

void answer_text(struct rpc_call *c, const char *error, const char *text)
{
        rpc_fail(c, error, json_pack("{s:s}", "message", text ? text : ""));
}

void answer_save_failed(struct rpc_call *c, int64_t step, const char *text)
{
        rpc_fail(c, "io.ckptd.Jobs.SaveFailed",
                 json_pack("{s:I, s:s}", "step", (json_int_t)step, "message", text ? text : ""));
}

void answer_no_directory(struct rpc_call *c, const char *model_dir)
{
        rpc_fail(c, "io.ckptd.Admin.NoSuchDirectory", json_pack("{s:s}", "model_dir", model_dir));
}

void answer_busy(struct rpc_call *c, const char *error, const char *model_dir, pid_t pid,
                 const char *text)
{
        rpc_fail(c, error,
                 json_pack("{s:s, s:i, s:s}", "model_dir", model_dir, "pid", (int)pid, "message",
                           text));
}
