/* reference.c - prints the option table of README.md; see scripts/reference. */
#include "nodedot/config/config.h"

int main(void)
{
    config_print_reference(stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}
