/* schema: see schema.h. One check for each keyword, in a table. */
#include "tests/support/schema.h"

#include "base/text.h"
#include "tests/support/harness.h"

#include <stdlib.h>
#include <string.h>

struct place {
    const json_t *doc;
    const char *path; /* of the value, "/events/0" */
    const json_t *schema;
};

/* What a keyword says about a value. NULL: it fits. */
typedef const char *check_fn(const struct place *at, const json_t *rule, const json_t *value);

static const char *check(
    const json_t *doc, const char *path, const json_t *schema, const json_t *value);

static const char *fault(const struct place *at, const char *what, const json_t *rule)
{
    char *text = json_dumps(rule, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *said = harness_text("at %s: %s %s", *at->path ? at->path : "/", what, text);
    free(text);
    return said;
}

/* --- of any value ------------------------------------------------------------------------ */

static bool has_type(const json_t *value, const char *type)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return strcmp(type, "object") == 0;
    case JSON_ARRAY: return strcmp(type, "array") == 0;
    case JSON_STRING: return strcmp(type, "string") == 0;
    case JSON_INTEGER: return strcmp(type, "integer") == 0 || strcmp(type, "number") == 0;
    case JSON_REAL: return strcmp(type, "number") == 0; /* 1.0 is no count of ours */
    case JSON_TRUE:
    case JSON_FALSE: return strcmp(type, "boolean") == 0;
    case JSON_NULL: return strcmp(type, "null") == 0;
    }
    return false;
}

static const char *check_type(const struct place *at, const json_t *rule, const json_t *value)
{
    size_t i;
    json_t *type;
    if (json_is_string(rule) && has_type(value, json_string_value(rule)))
        return NULL;
    json_array_foreach(rule, i, type) if (has_type(value, json_string_value(type))) return NULL;
    return fault(at, "it is not of type", rule);
}

static const char *check_enum(const struct place *at, const json_t *rule, const json_t *value)
{
    size_t i;
    json_t *one;
    json_array_foreach(rule, i, one) if (json_equal(one, value)) return NULL;
    return fault(at, "it is none of", rule);
}

static const char *check_const(const struct place *at, const json_t *rule, const json_t *value)
{
    return json_equal(rule, value) ? NULL : fault(at, "it is not", rule);
}

static const char *check_ref(const struct place *at, const json_t *rule, const json_t *value)
{
    const json_t *target = schema_resolve(at->doc, at->schema);
    return target ? check(at->doc, at->path, target, value)
                  : fault(at, "the document does not have", rule);
}

/* How many of the schemas it fits; the last fault in *why. */
static int fits(const struct place *at, const json_t *rule, const json_t *value, const char **why)
{
    int n = 0;
    size_t i;
    json_t *one;
    json_array_foreach(rule, i, one)
    {
        const char *said = check(at->doc, at->path, one, value);
        n += !said;
        *why = said ? said : *why;
    }
    return n;
}

static const char *check_any(const struct place *at, const json_t *rule, const json_t *value)
{
    const char *why = "";
    return fits(at, rule, value, &why) ? NULL : harness_text("%s (and none of the others)", why);
}

static const char *check_one(const struct place *at, const json_t *rule, const json_t *value)
{
    const char *why = "";
    int n = fits(at, rule, value, &why);
    return n == 1 ? NULL
                  : harness_text("at %s: it fits %d of oneOf, not one: %s", at->path, n, why);
}

/* --- of numbers and texts ---------------------------------------------------------------- */

static const char *check_min(const struct place *at, const json_t *rule, const json_t *value)
{
    bool low = json_is_number(value) && json_number_value(value) < json_number_value(rule);
    return low ? fault(at, "it is below", rule) : NULL;
}

static const char *check_max(const struct place *at, const json_t *rule, const json_t *value)
{
    bool high = json_is_number(value) && json_number_value(value) > json_number_value(rule);
    return high ? fault(at, "it is above", rule) : NULL;
}

static size_t length(const json_t *text)
{
    return text_chars(json_string_value(text));
}

static const char *check_min_length(const struct place *at, const json_t *rule, const json_t *value)
{
    bool is_short = json_is_string(value) && length(value) < (size_t)json_integer_value(rule);
    return is_short ? fault(at, "it is shorter than", rule) : NULL;
}

static const char *check_max_length(const struct place *at, const json_t *rule, const json_t *value)
{
    bool is_long = json_is_string(value) && length(value) > (size_t)json_integer_value(rule);
    return is_long ? fault(at, "it is longer than", rule) : NULL;
}

/* --- of arrays and objects --------------------------------------------------------------- */

static const char *check_min_items(const struct place *at, const json_t *rule, const json_t *value)
{
    bool few = json_is_array(value) && json_array_size(value) < (size_t)json_integer_value(rule);
    return few ? fault(at, "it has fewer elements than", rule) : NULL;
}

static const char *check_max_items(const struct place *at, const json_t *rule, const json_t *value)
{
    return json_array_size(value) > (size_t)json_integer_value(rule)
               ? fault(at, "it has more elements than", rule)
               : NULL;
}

static const char *check_items(const struct place *at, const json_t *rule, const json_t *value)
{
    size_t i;
    json_t *element;
    json_array_foreach(value, i, element)
    {
        const char *said = check(at->doc, harness_text("%s/%zu", at->path, i), rule, element);
        if (said)
            return said;
    }
    return NULL;
}

static const char *check_required(const struct place *at, const json_t *rule, const json_t *value)
{
    size_t i;
    json_t *name;
    json_array_foreach(rule, i, name)
    {
        if (json_is_object(value) && !json_object_get(value, json_string_value(name)))
            return fault(at, "it lacks", name);
    }
    return NULL;
}

/* Members with a schema of their own. */
static const char *check_properties(const struct place *at, const json_t *rule, const json_t *value)
{
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)value, name, member)
    {
        const json_t *schema = json_object_get(rule, name);
        const char *said =
            schema ? check(at->doc, harness_text("%s/%s", at->path, name), schema, member) : NULL;
        if (said)
            return said;
    }
    return NULL;
}

/* Those without. */
static const char *check_others(const struct place *at, const json_t *rule, const json_t *value)
{
    const json_t *known = json_object_get(at->schema, "properties");
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)value, name, member)
    {
        const char *path = harness_text("%s/%s", at->path, name);
        if (json_object_get(known, name) || json_is_true(rule))
            continue;
        const char *said = json_is_false(rule) ? harness_text("at %s: not in the document", path)
                                               : check(at->doc, path, rule, member);
        if (said)
            return said;
    }
    return NULL;
}

static const char *check_nothing(const struct place *at, const json_t *rule, const json_t *value)
{
    (void)at;
    (void)rule;
    (void)value;
    return NULL;
}

/* --- all together ------------------------------------------------------------------------ */

/* clang-format off */
static const struct keyword {
    const char *name;
    check_fn *fn;
} keywords[] = {
    {"$ref", check_ref}, {"type", check_type}, {"enum", check_enum}, {"const", check_const},
    {"anyOf", check_any}, {"oneOf", check_one}, {"minimum", check_min}, {"maximum", check_max},
    {"minLength", check_min_length}, {"maxLength", check_max_length},
    {"minItems", check_min_items}, {"maxItems", check_max_items}, {"items", check_items},
    {"required", check_required}, {"properties", check_properties},
    {"additionalProperties", check_others},
    {"description", check_nothing}, {"default", check_nothing}, {"format", check_nothing},
};
/* clang-format on */

static check_fn *check_for(const char *keyword)
{
    for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
        if (strcmp(keywords[i].name, keyword) == 0)
            return keywords[i].fn;
    return NULL;
}

static const char *check(
    const json_t *doc, const char *path, const json_t *schema, const json_t *value)
{
    const struct place at = {doc, path, schema};
    const char *keyword;
    json_t *rule;
    if (!json_is_object(schema))
        return harness_text("at %s: the document has no schema for it", path);
    json_object_foreach((json_t *)schema, keyword, rule)
    {
        check_fn *fn = check_for(keyword);
        const char *said = fn ? fn(&at, rule, value)
                              : harness_text("at %s: keyword %s is not known", path, keyword);
        if (said)
            return said;
    }
    return NULL;
}

const json_t *schema_resolve(const json_t *doc, const json_t *thing)
{
    const char *ref = json_string_value(json_object_get(thing, "$ref"));
    if (!ref)
        return thing;
    if (strncmp(ref, "#/", 2) != 0)
        return NULL;
    const json_t *at = doc;
    for (const char *p = ref + 1; at && *p == '/';) {
        size_t n = strcspn(p + 1, "/");
        at = json_object_get(at, harness_text("%.*s", (int)n, p + 1));
        p += n + 1;
    }
    return at;
}

const char *schema_fault(const json_t *doc, const json_t *schema, const json_t *value)
{
    return check(doc, "", schema, value);
}
