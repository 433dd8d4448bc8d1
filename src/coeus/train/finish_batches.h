// What a run's loaders do to a batch before it is trained on.
#pragma once

#include <memory>

#include "coeus/comm/mesh.h"
#include "coeus/data/loader.h"
#include "coeus/models/model.h"
#include "coeus/parallel/context/plan/context_rows.h"
#include "coeus/train/job_config.h"

namespace coeus {

/// How [parallelism] asks for rows to be spread over the ranks of context parallelism.
ContextOptions context_options(const JobConfig& config, const Mesh& mesh, const Model& model);

/// Plans rows as a run does. The model is kept.
ContextRowPlanner context_planner(const JobConfig& config, const Mesh& mesh,
                                  const std::shared_ptr<const Model>& model);

/// Lowers the model's masks for a batch's rows and images; under context parallelism also plans the
/// rows, balances passes where a step has several (balancer joint alone), and leaves this rank's
/// tokens. Then uploads it to the device that trains. Throws Error at once for a model whose
/// buffers do not follow its tokens.
FinishBatches finish_batches(const JobConfig& config, const Mesh& mesh,
                             const std::shared_ptr<const Model>& model, const at::Device& device);

}  // namespace coeus
