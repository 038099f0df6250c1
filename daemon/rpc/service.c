#include "session.h"

#include "idl.h"

#include <stddef.h>
#include <string.h>

static void handle_get_info(struct rpc_call *c, const void *parameters, void *user)
{
        json_t *names = json_array();

        (void)parameters;
        (void)user;
        for (const struct wire_interface *i = wire_interfaces; i->name; i++)
                json_array_append_new(names, json_string(i->name));
        rpc_reply(c,
                  json_pack("{s:s, s:s, s:s, s:s, s:o}", "vendor", "ckptd", "product", "ckptd",
                            "version", CKPTD_VERSION, "url", "man:ckptd(8)", "interfaces", names));
}

struct description_in {
        const char *interface;
};

static const struct field description_fields[] = {
        FIELD(FIELD_STRING, struct description_in, interface, FIELD_REQUIRED),
        FIELD_END,
};

static void handle_get_description(struct rpc_call *c, const void *parameters, void *user)
{
        const struct description_in *in = parameters;
        const struct wire_interface *i = wire_interface_find(in->interface, strlen(in->interface));

        (void)user;
        if (i)
                rpc_reply(c, json_pack("{s:s}", "description", i->text));
        else
                rpc_fail(c, "org.varlink.service.InterfaceNotFound",
                         json_pack("{s:s}", "interface", in->interface));
}

const struct rpc_method rpc_service_methods[] = {
        {"org.varlink.service.GetInfo", NULL, 0, 0, handle_get_info},
        {"org.varlink.service.GetInterfaceDescription", description_fields,
         sizeof(struct description_in), 0, handle_get_description},
        {0},
};
