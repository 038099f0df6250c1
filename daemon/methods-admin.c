#include "methods.h"
#include "manager.h"

#include <string.h>

#define PARAMETERS(s) struct s##_parameters
#define F(type, s, member, flags) FIELD(type, PARAMETERS(s), member, flags)

static const struct field list_fields[] = {
        F(FIELD_STRING, list, model_dir, FIELD_NOT_EMPTY),
        F(FIELD_BOOL, list, all, 0),
        FIELD_END,
};
static const struct field history_fields[] = {
        F(FIELD_STRING, history, model_dir, FIELD_NOT_EMPTY),
        F(FIELD_INT, history, since_ms, FIELD_NOT_NEGATIVE),
        F(FIELD_STRING, history, event, FIELD_NOT_EMPTY),
        F(FIELD_INT, history, limit, FIELD_NOT_NEGATIVE),
        FIELD_END,
};
static const struct field save_fields[] = {
        F(FIELD_STRING, save, model_dir, FIELD_NOT_EMPTY),
        F(FIELD_BOOL, save, all, 0),
        F(FIELD_BOOL, save, wait, 0),
        FIELD_END,
};
static const struct field latest_fields[] = {
        F(FIELD_STRING, list, model_dir, FIELD_REQUIRED | FIELD_NOT_EMPTY),
        FIELD_END,
};
static const struct field damage_fields[] = {
        F(FIELD_STRING, damage, model_dir, FIELD_REQUIRED | FIELD_NOT_EMPTY),
        F(FIELD_STRING, damage, path, FIELD_REQUIRED | FIELD_NOT_EMPTY),
        FIELD_END,
};

static void handle_status(struct rpc_call *c, const void *p, void *user)
{
        (void)p;
        manager_status(user, c);
}

static void handle_list(struct rpc_call *c, const void *p, void *user)
{
        manager_list(user, c, p);
}

static void handle_history(struct rpc_call *c, const void *p, void *user)
{
        manager_history(user, c, p);
}

static void handle_save(struct rpc_call *c, const void *p, void *user)
{
        manager_save(user, c, p);
}

static void handle_latest(struct rpc_call *c, const void *p, void *user)
{
        manager_latest(user, c, p);
}

static void handle_damage(struct rpc_call *c, const void *p, void *user)
{
        manager_report_damage(user, c, p);
}

static void handle_reload(struct rpc_call *c, const void *p, void *user)
{
        struct diag d = {0};
        json_t *changes = NULL;
        int r = manager_reload(user, c, &changes, &d);

        (void)p;
        if (r < 0)
                rpc_fail(c, "io.ckptd.Admin.InvalidSettings",
                         json_pack("{s:s}", "mistakes", diag_text(&d, r)));
        else
                rpc_reply(c, json_pack("{s:o}", "changes", changes));
        diag_done(&d);
}

#define METHOD(name, flags, handler, fields, s)                                                    \
        {                                                                                          \
                "io.ckptd.Admin." name, fields, sizeof(PARAMETERS(s)), flags, handler              \
        }

const struct rpc_method methods_admin[] = {
        {"io.ckptd.Admin.Status", NULL, 0, 0, handle_status},
        METHOD("List", 0, handle_list, list_fields, list),
        METHOD("History", 0, handle_history, history_fields, history),
        METHOD("Save", RPC_MUTATES, handle_save, save_fields, save),
        METHOD("Latest", RPC_MUTATES, handle_latest, latest_fields, list),
        METHOD("ReportDamage", RPC_MUTATES, handle_damage, damage_fields, damage),
        {"io.ckptd.Admin.Reload", NULL, 0, RPC_MUTATES, handle_reload},
        {0},
};
