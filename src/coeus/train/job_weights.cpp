#include "coeus/train/job_weights.h"

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/checkpoint/initial_weights.h"
#include "coeus/train/job_model.h"

namespace coeus {

void load_weights(Model& model, const JobConfig& config, const std::filesystem::path& path) {
  FileSystem& file_system = posix_file_system();
  const NamedTensors tensors = checkpoint_tensors_of(model);
  const InitialWeights weights = find_initial_weights(file_system, path);
  if (has_hugging_face_names(weights.model))
    HuggingFaceWeights(file_system, path, job_hugging_face_format(config), shapes_of(tensors), {})
        .fill(tensors);
  else
    load_model_weights(file_system, path, weights, tensors);
}

}  // namespace coeus
