#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "idl.h"

#include <string.h>

static const struct wire_interface *find(const char *name)
{
        const struct wire_interface *i = wire_interface_find(name, strlen(name));

        assert_non_null(i);
        assert_string_equal(i->name, name);
        return i;
}

static void interfaces(void **state)
{
        (void)state;
        assert_string_equal(wire_interfaces[0].name, "org.varlink.service");
        for (const struct wire_interface *i = wire_interfaces; i->name; i++) {
                char line[128] = "interface ";

                strcat(line, i->name);
                assert_non_null(strstr(i->text, line));
                assert_null(strstr(i->text, ": any")); /* older clients refuse to parse it */
                assert_int_equal(i->text[strlen(i->text) - 1], '\n');
        }
        find("io.ckptd.Jobs");
        find("io.ckptd.Admin");
        assert_null(wire_interface_find("io.ckptd.Job", 12));
        assert_null(wire_interface_find("io.ckptd.Jobs.Attach", 20));
        assert_ptr_equal(wire_interface_find("io.ckptd.Jobs.Attach", 13), find("io.ckptd.Jobs"));
        assert_null(wire_interface_find("", 0));
}

static int join(const char *name, size_t length, void *user)
{
        strncat(user, name, length);
        strcat(user, " ");
        return 0;
}

static void assert_methods(const char *interface, const char *names)
{
        char all[1024] = "";

        assert_int_equal(wire_interface_each_method(find(interface), join, all), 0);
        assert_string_equal(all, names);
}

static void methods(void **state)
{
        (void)state;
        assert_methods("org.varlink.service", "GetInfo GetInterfaceDescription ");
        assert_methods(
                "io.ckptd.Jobs",
                "Attach Describe HandOff Piece Step Commit Restore Restored Wait Finish Detach ");
        assert_methods("io.ckptd.Admin", "Status List History Save Latest ReportDamage Reload ");
}

static void declarations(void **state)
{
        const struct wire_interface *jobs = find("io.ckptd.Jobs");

        (void)state;
        assert_true(wire_interface_declares(jobs, "method", "Attach"));
        assert_true(wire_interface_declares(jobs, "error", "Busy"));
        assert_true(wire_interface_declares(jobs, "error", "Failed"));
        assert_true(wire_interface_declares(jobs, "type", "Tensor"));
        assert_false(wire_interface_declares(jobs, "method", "Busy"));
        assert_false(wire_interface_declares(jobs, "error", "Attach"));
        assert_false(wire_interface_declares(jobs, "method", "Atta"));
        assert_false(wire_interface_declares(jobs, "method", "Attached"));
        assert_false(wire_interface_declares(jobs, "method", "attach"));
        assert_false(wire_interface_declares(jobs, "method", ""));
        assert_false(wire_interface_declares(jobs, "attach:", "int"));
}

static int stop_at_second(const char *name, size_t length, void *user)
{
        (void)name;
        (void)length;
        return ++*(int *)user == 2 ? 17 : 0;
}

static void stops(void **state)
{
        int n = 0;

        (void)state;
        assert_int_equal(wire_interface_each_method(find("io.ckptd.Jobs"), stop_at_second, &n), 17);
        assert_int_equal(n, 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(interfaces),
                cmocka_unit_test(methods),
                cmocka_unit_test(declarations),
                cmocka_unit_test(stops),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
