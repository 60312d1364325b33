/* config_show: the table and a configuration as text for people: --help, --print-config, the sample
 * file. See config.h. */
#include "base/config_table.h"
#include "base/config_value.h"
#include "base/url.h"

#include <string.h>

static void write_aliases(const struct config_row *r, const char *before, struct buf *out)
{
    const char *names = r->names;
    char name[CONFIG_NAME_MAX];
    config_next_name(&names, name);
    for (; config_next_name(&names, name); before = ", ")
        buf_printf(out, "%s%s", before, name);
}

void config_help(int program, struct buf *out)
{
    char name[CONFIG_NAME_MAX];
    for (size_t i = 0; i < config_nrows; i++) {
        const struct config_row *r = &config_rows[i];
        if (!(r->users & program))
            continue;
        buf_printf(out, "  %s", config_first_name(r, name));
        write_aliases(r, ", ", out);
        buf_printf(out, "\n      %s\n      Allowed: ", r->help);
        config_write_allowed(r, out);
        buf_puts(out, "\n      Default: ");
        if (r->def)
            buf_puts(out, r->def);
        else
            buf_puts(out, r->users & NEEDED_BY(program) ? "none, it is needed" : "not set");
        buf_putc(out, '\n');
    }
}

/* As in a file: quoted when it must be. */
static void write_quoted(const char *s, struct buf *out)
{
    if (!s[strcspn(s, " \t#\"'\\$`;")]) {
        buf_puts(out, s);
        return;
    }
    buf_putc(out, '"');
    for (; *s; s++) {
        if (strchr("\"\\$`", *s))
            buf_putc(out, '\\');
        buf_putc(out, *s);
    }
    buf_putc(out, '"');
}

/* Without its secrets. */
static void write_shown(const struct config *cfg, const struct config_row *r, struct buf *out)
{
    if (r->type != CONFIG_TEXT) {
        config_write_number(r->kind, config_number(cfg, r), out);
        return;
    }
    const char *text = *config_text(cfg, r);
    if (r->kind->show == CONFIG_HIDDEN && *text)
        buf_puts(out, "***");
    else if (r->kind->show == CONFIG_SHOWN_AS_URL)
        url_mask(text, out);
    else
        buf_puts(out, text);
}

static void write_value(const struct config *cfg, const struct config_row *r, struct buf *out)
{
    struct buf shown = {0};
    write_shown(cfg, r, &shown);
    write_quoted(buf_str(&shown), out);
    buf_release(&shown);
}

void config_print(const struct config *cfg, int program, struct buf *out)
{
    char name[CONFIG_NAME_MAX];
    for (size_t i = 0; i < config_nrows; i++) {
        const struct config_row *r = &config_rows[i];
        if (!(r->users & program))
            continue;
        config_first_name(r, name);
        if (!cfg->origins[i]) {
            buf_printf(out, "#%s= # not set\n", name);
            continue;
        }
        buf_printf(out, "%s=", name);
        write_value(cfg, r, out);
        buf_printf(out, " # %s\n", cfg->origins[i]);
    }
}

void config_each(const struct config *cfg, int program, config_each_fn *each, void *ctx)
{
    const char *group = NULL;
    char name[CONFIG_NAME_MAX];
    struct buf value = {0}, allowed = {0};
    for (size_t i = 0; i < config_nrows; i++) {
        const struct config_row *r = &config_rows[i];
        if (r->group)
            group = r->group;
        if (!(r->users & program))
            continue;
        config_first_name(r, name);
        buf_clear(&value);
        buf_clear(&allowed);
        if (cfg->origins[i])
            write_shown(cfg, r, &value);
        config_write_allowed(r, &allowed);
        const char *aliases = r->names + strlen(name);
        each(&(struct config_item){.group = group,
                 .name = name,
                 .aliases = aliases + strspn(aliases, " "),
                 .value = cfg->origins[i] ? buf_str(&value) : NULL,
                 .origin = cfg->origins[i],
                 .def = r->def,
                 .allowed = buf_str(&allowed),
                 .help = r->help,
                 .users = r->users & CFG_ALL,
                 .hidden = r->kind->show == CONFIG_HIDDEN},
            ctx);
    }
    buf_release(&value);
    buf_release(&allowed);
}

static void write_users(int users, struct buf *out)
{
    static const char *const programs[] = {"producer", "worker", "hooklinectl"};
    const char *before = "";
    for (int i = 0; i < 3; i++) {
        if (!(users & 1 << i))
            continue;
        buf_printf(out, "%s%s", before, programs[i]);
        if (users & NEEDED_BY(1 << i))
            buf_puts(out, " (needed)");
        before = ", ";
    }
}

void config_sample(struct buf *out)
{
    char name[CONFIG_NAME_MAX];
    buf_puts(out,
        "# Hookline's settings, each with its default. For --config FILE, for systemd's\n"
        "# EnvironmentFile=, or as .env in the working directory. The environment wins over\n"
        "# all of them. NAME_FILE in place of NAME gives a file that holds the value.\n");
    for (size_t i = 0; i < config_nrows; i++) {
        const struct config_row *r = &config_rows[i];
        if (r->group) {
            buf_printf(out, "\n# --- %s ---\n", r->group);
            continue;
        }
        buf_printf(out, "\n# %s\n# Allowed: ", r->help);
        config_write_allowed(r, out);
        buf_puts(out, "\n# Used by: ");
        write_users(r->users, out);
        write_aliases(r, "\n# Also named: ", out);
        buf_printf(out, "\n#%s=", config_first_name(r, name));
        write_quoted(r->def ? r->def : "", out);
        buf_putc(out, '\n');
    }
}
