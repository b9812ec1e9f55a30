/* value.h - turns an option's text into its field of the configuration, and back.
 *
 * Form: decimal numbers without sign; bytes with the suffix K, M or G (powers of 1024); lists separated by commas.
 */
#ifndef NODEDOT_CONFIG_VALUE_H
#define NODEDOT_CONFIG_VALUE_H

#include "nodedot/config/options.h"

#define VALUE_WHY 1024 /* octets of an explanation, NUL included */

/* What a text may refer to. */
struct value_context {
    const struct config *config; /* whose upstreams have their names */
    uint16_t port;               /* of an OPTION_ENDPOINTS entry that names none */
};

/* Parses text into option's member of object. False: why (VALUE_WHY octets) says what is wrong and what was expected. */
bool value_parse(const struct option_def *option, const char *text, const struct value_context *context, void *object,
                 char *why);

/* Writes option's member of object as text that value_parse() reads back to the same. Long lists are broken after
 * commas, to be continued on indented lines. */
void value_print(const struct option_def *option, const struct config *config, const void *object, FILE *out);

/* Describes what option takes, "seconds from 1 to 86400", in VALUE_WHY octets at out, and returns out. */
const char *value_expected(const struct option_def *option, char *out);

/* Reads "sha256/BASE64". */
bool value_parse_pin(const char *text, struct pin *out);

/* Appends pin unless the list has it. False: no room. */
bool value_add_pin(struct upstream_config *upstream, const struct pin *pin);

/* Removes blanks (spaces, tabs, line ends) from both ends, in place, and returns the new start. */
char *value_trim(char *text);

#endif
