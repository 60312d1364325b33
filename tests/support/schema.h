/* schema: does a JSON value fit a schema of an OpenAPI 3.1 document? A small part of JSON Schema
 * 2020-12, and strict: a keyword that is not known here is a fault of the schema, so nothing is
 * passed over in silence; but description, default and format say nothing about a value. */
#ifndef HL_TESTS_SCHEMA_H
#define HL_TESTS_SCHEMA_H

#include <jansson.h>

/* NULL: it fits. Otherwise where it does not and why, kept until the test ends. doc: where "$ref"
 * leads. */
const char *schema_fault(const json_t *doc, const json_t *schema, const json_t *value);

/* What "$ref" leads to ("#/components/..."), or the thing itself without one. NULL: to nothing. */
const json_t *schema_resolve(const json_t *doc, const json_t *thing);

#endif
