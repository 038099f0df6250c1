#include "methods.h"
#include "manager.h"

#define PARAMETERS(s) struct s##_parameters
#define F(type, s, member, flags) FIELD(type, PARAMETERS(s), member, flags)

static const struct field attach_fields[] = {
        F(FIELD_STRING, attach, model_dir, FIELD_REQUIRED | FIELD_NOT_EMPTY),
        F(FIELD_FD, attach, model_dir_fd, 0),
        F(FIELD_FD, attach, pid_fd, 0),
        F(FIELD_STRING, attach, job, FIELD_NOT_EMPTY),
        F(FIELD_INT, attach, rank, FIELD_NOT_NEGATIVE),
        {"world_size", FIELD_INT, FIELD_NOT_NEGATIVE, offsetof(PARAMETERS(attach), world_size),
         offsetof(PARAMETERS(attach), has_world_size)},
        F(FIELD_STRING, attach, policy, FIELD_NOT_EMPTY),
        F(FIELD_OBJECT, attach, policy_values, 0),
        F(FIELD_ARRAY, attach, manifest, 0),
        F(FIELD_FD, attach, manifest_fd, 0),
        F(FIELD_BOOL, attach, fresh, 0),
        F(FIELD_BOOL, attach, read_only, 0),
        F(FIELD_STRING, attach, command, 0),
        F(FIELD_INT, attach, attach, FIELD_NOT_NEGATIVE),
        F(FIELD_FD, attach, page_fd, 0),
        F(FIELD_ARRAY, attach, slot_fds, 0),
        F(FIELD_FD, attach, layout_fd, 0),
        FIELD_END,
};
static const struct field describe_fields[] = {
        F(FIELD_ARRAY, describe, manifest, 0),
        F(FIELD_FD, describe, manifest_fd, 0),
        FIELD_END,
};
static const struct field hand_off_fields[] = {
        F(FIELD_INT, hand_off, step, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        F(FIELD_BOOL, hand_off, forced, 0),
        FIELD_END,
};
static const struct field piece_fields[] = {
        F(FIELD_INT, piece, step, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        F(FIELD_INT, piece, asked, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        F(FIELD_INT, piece, offset, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        F(FIELD_INT, piece, bytes, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        F(FIELD_BOOL, piece, last, FIELD_REQUIRED),
        FIELD_END,
};
static const struct field step_fields[] = {
        F(FIELD_INT, step, step, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        FIELD_END,
};
static const struct field commit_fields[] = {
        F(FIELD_INT, commit, step, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        F(FIELD_STRING, commit, path, FIELD_REQUIRED | FIELD_NOT_EMPTY),
        FIELD_END,
};
static const struct field restore_fields[] = {
        {"step", FIELD_INT, FIELD_NOT_NEGATIVE, offsetof(PARAMETERS(restore), step),
         offsetof(PARAMETERS(restore), has_step)},
        F(FIELD_STRING, restore, path, FIELD_NOT_EMPTY),
        F(FIELD_BOOL, restore, partial, 0),
        FIELD_END,
};
static const struct field wait_fields[] = {
        F(FIELD_INT, wait, attach, FIELD_REQUIRED | FIELD_NOT_NEGATIVE),
        {"step", FIELD_INT, FIELD_NOT_NEGATIVE, offsetof(PARAMETERS(wait), step),
         offsetof(PARAMETERS(wait), has_step)},
        FIELD_END,
};

/* One handler: decoded parameters to the manager's call of the same name. */
#define HANDLER(name, s)                                                                           \
        static void handle_##name(struct rpc_call *c, const void *p, void *user)                   \
        {                                                                                          \
                manager_##name(user, c, (const PARAMETERS(s) *)p);                                 \
        }

HANDLER(attach, attach)
HANDLER(describe, describe)
HANDLER(hand_off, hand_off)
HANDLER(piece, piece)
HANDLER(step, step)
HANDLER(commit, commit)
HANDLER(restore, restore)
HANDLER(restored, step)
HANDLER(wait, wait)
HANDLER(finish, step)

static void handle_detach(struct rpc_call *c, const void *p, void *user)
{
        (void)p;
        manager_detach(user, c);
}

#define METHOD(name, handler, fields, s)                                                           \
        {                                                                                          \
                "io.ckptd.Jobs." name, fields, sizeof(PARAMETERS(s)), 0, handler                   \
        }

const struct rpc_method methods_jobs[] = {
        METHOD("Attach", handle_attach, attach_fields, attach),
        METHOD("Describe", handle_describe, describe_fields, describe),
        METHOD("HandOff", handle_hand_off, hand_off_fields, hand_off),
        METHOD("Piece", handle_piece, piece_fields, piece),
        METHOD("Step", handle_step, step_fields, step),
        METHOD("Commit", handle_commit, commit_fields, commit),
        METHOD("Restore", handle_restore, restore_fields, restore),
        METHOD("Restored", handle_restored, step_fields, step),
        METHOD("Wait", handle_wait, wait_fields, wait),
        METHOD("Finish", handle_finish, step_fields, step),
        {"io.ckptd.Jobs.Detach", NULL, 0, 0, handle_detach},
        {0},
};
