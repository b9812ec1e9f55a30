/* reference.c - prints the tables of the documentation that the program knows best; see scripts/reference. */
#include "nodedot/config/config.h"
#include "nodedot/observe/exposition.h"

#include <string.h>

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "options") == 0)
        config_print_reference(stdout);
    else if (argc == 2 && strcmp(argv[1], "metrics") == 0)
        exposition_print_reference(stdout);
    else
        return 2;
    return fflush(stdout) == 0 ? 0 : 1;
}
