/*
 * Common code of the qtests of shared device assignment
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "qemu/bitops.h"
#include "qemu/units.h"
#include "qobject/qbool.h"
#include "qobject/qjson.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "shared-dma-test.h"

/* Machines */

const char *shared_dma_lacks_private_memory(void)
{
    int fd = open("/dev/kvm", O_RDWR);
    int types;

    if (fd < 0) {
        return "/dev/kvm cannot be opened";
    }
    types = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES);
    close(fd);
    if (types < 0 || !(types & BIT(KVM_X86_SW_PROTECTED_VM))) {
        return "KVM does not support software-protected VMs"
               " (CONFIG_KVM_SW_PROTECTED_VM)";
    }
    return NULL;
}

/* Create the ROM that QEMU requires; it is empty because no guest runs. */
static char *shared_dma_make_rom(void)
{
    const g_autofree char *data = g_malloc0(SHARED_DMA_ROM_SIZE);
    g_autoptr(GError) error = NULL;
    char *path;
    int fd = g_file_open_tmp("qtest-rom-XXXXXX", &path, &error);

    g_assert_no_error(error);
    close(fd);
    g_file_set_contents(path, data, SHARED_DMA_ROM_SIZE, &error);
    g_assert_no_error(error);
    return path;
}

QTestState *shared_dma_start(const char *options)
{
    g_autofree char *rom = shared_dma_make_rom();
    QTestState *qts = qtest_initf("-nodefaults -S -bios %s %s", rom, options);

    g_unlink(rom);
    return qts;
}

QTestState *shared_dma_start_private(const char *more_options)
{
    g_autofree char *options = g_strconcat(SHARED_DMA_PRIVATE, more_options,
                                           NULL);

    return shared_dma_start(options);
}

QTestState *shared_dma_start_tcg(const char *machine)
{
    g_autofree char *options = g_strdup_printf("-accel tcg -machine %s",
                                               machine);

    return shared_dma_start(options);
}

void shared_dma_assert_refused(const char *options, const char *message)
{
    g_autofree char *rom = shared_dma_make_rom();
    /* If QEMU starts nevertheless, the monitor makes it quit. */
    g_autofree char *command = g_strdup_printf(
        "echo quit | %s -nodefaults -display none -S -monitor stdio -bios %s"
        " %s 2>&1", getenv("QTEST_QEMU_BINARY"), rom, options);
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", command, NULL };
    g_autoptr(GError) error = NULL;
    g_autofree char *output = NULL;
    int status;

    g_spawn_sync(NULL, argv, NULL, 0, NULL, NULL, &output, NULL, &status,
                 &error);
    g_unlink(rom);
    g_assert_no_error(error);
    g_test_message("%s: %s", options, output);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    g_assert_nonnull(strstr(output, message));
}

void shared_dma_assert_refused_private(const char *options,
                                       const char *message)
{
    g_autofree char *all = g_strconcat(SHARED_DMA_PRIVATE, options, NULL);

    shared_dma_assert_refused(all, message);
}

/* Comparing answers with the schema */

static QDict *shared_dma_find_by(QList *list, const char *key,
                                 const char *value)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(list, entry) {
        QDict *dict = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(dict, key), value)) {
            return dict;
        }
    }
    g_test_message("the schema has no '%s'", value);
    g_assert_not_reached();
}

static void shared_dma_check_type(QList *schema, const char *type,
                                  QObject *value);

static void shared_dma_check_object(QList *schema, QDict *definition,
                                    QDict *object)
{
    const QListEntry *entry;
    size_t found = 0;

    g_assert_nonnull(object);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(definition, "members"), entry) {
        QDict *member = qobject_to(QDict, qlist_entry_obj(entry));
        QObject *value = qdict_get(object, qdict_get_str(member, "name"));

        if (!value) {
            /* Only optional members have a default. */
            g_assert_true(qdict_haskey(member, "default"));
            continue;
        }
        shared_dma_check_type(schema, qdict_get_str(member, "type"), value);
        found++;
    }
    g_assert_cmpuint(qdict_size(object), ==, found);
}

static void shared_dma_check_builtin(QDict *definition, QObject *value)
{
    const char *type = qdict_get_str(definition, "json-type");
    const QNum *num = qobject_to(QNum, value);

    if (g_str_equal(type, "string")) {
        g_assert_nonnull(qobject_to(QString, value));
    } else if (g_str_equal(type, "boolean")) {
        g_assert_nonnull(qobject_to(QBool, value));
    } else {
        g_assert_cmpstr(type, ==, "int");
        g_assert_nonnull(num);
        g_assert_cmpint(num->kind, !=, QNUM_DOUBLE);
    }
}

static void shared_dma_check_type(QList *schema, const char *type,
                                  QObject *value)
{
    QDict *definition = shared_dma_find_by(schema, "name", type);
    const char *meta = qdict_get_str(definition, "meta-type");
    const QListEntry *entry;

    if (g_str_equal(meta, "object")) {
        shared_dma_check_object(schema, definition, qobject_to(QDict, value));
    } else if (g_str_equal(meta, "array")) {
        g_assert_nonnull(qobject_to(QList, value));
        QLIST_FOREACH_ENTRY(qobject_to(QList, value), entry) {
            shared_dma_check_type(schema,
                                  qdict_get_str(definition, "element-type"),
                                  qlist_entry_obj(entry));
        }
    } else if (g_str_equal(meta, "enum")) {
        g_assert_nonnull(qobject_to(QString, value));
        shared_dma_find_by(qdict_get_qlist(definition, "members"), "name",
                           qstring_get_str(qobject_to(QString, value)));
    } else {
        g_assert_cmpstr(meta, ==, "builtin");
        shared_dma_check_builtin(definition, value);
    }
}

static QList *shared_dma_schema(QTestState *qts)
{
    static QList *schema;

    if (!schema) {
        g_autoptr(QDict) response =
            qtest_qmp(qts, "{ 'execute': 'query-qmp-schema' }");

        schema = qobject_ref(qdict_get_qlist(response, "return"));
        g_assert_nonnull(schema);
    }
    return schema;
}

/* Queries */

static QDict *shared_dma_execute(QTestState *qts, const char *query,
                                 QDict *arguments)
{
    return qtest_qmp(qts, "{ 'execute': %s, 'arguments': %p }", query,
                     arguments ?: qdict_new());
}

QList *shared_dma_query(QTestState *qts, const char *query, QDict *arguments)
{
    g_autoptr(QDict) response = shared_dma_execute(qts, query, arguments);
    QList *answer = qdict_get_qlist(response, "return");
    QList *schema = shared_dma_schema(qts);
    g_autoptr(GString) text = qobject_to_json(QOBJECT(response));

    g_test_message("%s: %s", query, text->str);
    g_assert_nonnull(answer);
    shared_dma_check_type(
        schema,
        qdict_get_str(shared_dma_find_by(schema, "name", query), "ret-type"),
        QOBJECT(answer));
    return qobject_ref(answer);
}

void shared_dma_assert_query_fails(QTestState *qts, const char *query,
                                   QDict *arguments, const char *message)
{
    g_autoptr(QDict) response = shared_dma_execute(qts, query, arguments);
    const QDict *error = qdict_get_qdict(response, "error");

    g_assert_nonnull(error);
    g_assert_cmpstr(qdict_get_str(error, "desc"), ==, message);
}

static void shared_dma_put(QDict *dict, const char *key, int64_t value)
{
    if (value >= 0) {
        qdict_put_int(dict, key, value);
    }
}

QDict *shared_dma_window(int64_t start, int64_t size, int64_t max,
                         int64_t cells)
{
    QDict *arguments = qdict_new();
    QDict *window = qdict_new();

    shared_dma_put(window, "start", start);
    shared_dma_put(window, "size", size);
    shared_dma_put(window, "max", max);
    shared_dma_put(window, "cells", cells);
    qdict_put(arguments, "ranges", window);
    return arguments;
}

void shared_dma_assert_windows_checked(QTestState *qts, const char *query)
{
    const char *alignment =
        "'start' and 'size' must be multiples of the page size, 4096";

    shared_dma_assert_query_fails(qts, query, shared_dma_window(1, -1, -1, -1),
                                  alignment);
    shared_dma_assert_query_fails(
        qts, query, shared_dma_window(0, 4097, -1, -1), alignment);
    shared_dma_assert_query_fails(qts, query, shared_dma_window(-1, -1, 0, -1),
                                  "'max' is 0 but must be between 1 and 4096");
    shared_dma_assert_query_fails(
        qts, query, shared_dma_window(-1, -1, 4097, -1),
        "'max' is 4097 but must be between 1 and 4096");
    shared_dma_assert_query_fails(
        qts, query, shared_dma_window(-1, -1, -1, 0),
        "'cells' is 0 but must be between 1 and 4096");
    shared_dma_assert_query_fails(
        qts, query, shared_dma_window(-1, -1, -1, 4097),
        "'cells' is 4097 but must be between 1 and 4096");
}

void shared_dma_assert_info(QTestState *qts, const char *name,
                            const char *format, ...)
{
    g_autofree char *text = qtest_hmp(qts, "info %s", name);
    g_autofree char *wanted = NULL;
    va_list args;

    va_start(args, format);
    wanted = g_strdup_vprintf(format, args);
    va_end(args);
    g_test_message("info %s must contain: %s", name, wanted);
    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, wanted));
}
