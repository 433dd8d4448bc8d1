// Each checks one kernel, forward and backward, or prints times of it.
#pragma once

namespace coeus::cuda {

void check_rms_norms();
void check_ropes();
void check_swiglus();
void check_cross_entropies();

void time_rms_norms();
void time_ropes();
void time_swiglus();
void time_cross_entropies();

}  // namespace coeus::cuda
