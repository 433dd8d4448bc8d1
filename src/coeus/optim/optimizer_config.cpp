#include "coeus/optim/optimizer_config.h"

#include "coeus/base/config_schema.h"

namespace coeus {

void describe(OptimizerConfig& config, ConfigSection& section) {
  section.field("name", config.name, "The optimizer.").one_of({"AdamW", "Adam"});
  section
      .field("lr", config.lr,
             "Learning rate at its peak; the schedule of [lr_scheduler] multiplies it.")
      .at_least(0);
  section.field("beta1", config.beta1, "Decay rate of the gradient's running mean.")
      .at_least(0)
      .less_than(1);
  section.field("beta2", config.beta2, "Decay rate of the squared gradient's running mean.")
      .at_least(0)
      .less_than(1);
  section
      .field("eps", config.eps,
             "Added to the root of the squared mean, so that the update stays finite.")
      .at_least(0);
  section
      .field("weight_decay", config.weight_decay,
             "Pull of every parameter towards zero; AdamW keeps it apart from the gradient.")
      .at_least(0);
  section
      .field("implementation", config.implementation,
             "How many tensors one call updates; the results are equal to rounding.")
      .one_of({"fused", "foreach", "for-loop"});
  section.field("early_step_in_backward", config.early_step_in_backward,
                "Update each parameter as soon as its gradient is known.");
}

void describe(LrSchedulerConfig& config, ConfigSection& section) {
  section
      .field("warmup_steps", config.warmup_steps,
             "Steps over which the learning rate rises to its peak.")
      .at_least(0);
  section
      .field("decay_ratio", config.decay_ratio,
             "Part of all steps, at the end, over which the learning rate falls; None lets it fall "
             "from the end of the warmup.")
      .at_least(0)
      .at_most(1);
  section.field("decay_type", config.decay_type, "The curve along which it falls.")
      .one_of({"linear", "sqrt", "cosine"});
  section
      .field("min_lr_factor", config.min_lr_factor,
             "The learning rate at the end, as a part of optimizer.lr.")
      .at_least(0)
      .at_most(1);
}

}  // namespace coeus
