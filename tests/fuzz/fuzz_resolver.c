/* The whole resolver: what clients and upstreams send, when, and what else happens, is a script (simulation.h). */
#include "simulation/simulation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    simulation_run(data, size);
    return 0;
}
