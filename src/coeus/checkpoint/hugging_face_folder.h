// Model folders of Hugging Face (safetensors shards, index, config.json), read into and written
// from native tensors, a tensor (or one expert of it) at a time.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "coeus/checkpoint/checkpoint_ranks.h"
#include "coeus/checkpoint/foreign_names.h"
#include "coeus/checkpoint/safetensors_folder.h"
#include "coeus/checkpoint/stored_tensors.h"
#include "coeus/checkpoint/training_state.h"

namespace coeus {

/// What a model is called and how it is described there.
struct HuggingFaceFormat {
  ForeignNames names;
  nlohmann::json config;  ///< config.json
};

/// The shapes of the tensors, which may be on the meta device.
std::vector<NamedShape> shapes_of(const NamedTensors& tensors);

/// The whole shapes of the tensors of which the ranks hold slices: the union over the ranks.
std::vector<NamedShape> whole_shapes_of(const NamedTensors& tensors, const HeldSlices& slices,
                                        CheckpointRanks& ranks);

/// Whether these look like Hugging Face's names of a language model.
bool has_hugging_face_names(const std::vector<StoredTensor>& tensors);

/// The weights of a folder, found to be those of a model.
class HuggingFaceWeights {
 public:
  struct Options {
    /// Whether weights may be in 8 bits with scales; they become float32.
    bool quantized = true;
  };
  /// `path` is the folder or one safetensors file; `tensors` are those of the model. Reads headers
  /// and config.json, and throws CheckpointError that names every tensor missing, unknown, or of
  /// another shape or type. `file_system` outlives this.
  HuggingFaceWeights(FileSystem& file_system, const std::filesystem::path& path,
                     const HuggingFaceFormat& format, const std::vector<NamedShape>& native,
                     const Options& options);

  /// The type that holds a native tensor's numbers as they are stored.
  StoredType type_of(const std::string& native) const { return types_.at(native); }
  /// As a SlabReader gives it, of that type. A tensor that has no place there (an expert bias) is
  /// 0.
  at::Tensor slab(const std::string& native, std::optional<int64_t> index);
  /// A box of a native tensor, of that type. What it needs is read and no more, where weights in 8
  /// bits need a whole slab, and a part of a head that is rotated all of it.
  at::Tensor read(const std::string& native, const TensorSlice& slice);
  /// Fills all of `model` in place, each tensor with the slice of it that is held, converting
  /// types.
  void fill(const NamedTensors& model, const HeldSlices& slices = {});

 private:
  void check(bool quantized_allowed);
  void settle_tied(bool is_tied);
  void check_copies();
  StoredType widest_of(const std::string& native) const;
  bool is_quantized(const StoredTensor& source) const;
  at::Tensor read_foreign(const std::string& name, const TensorSlice& slice);

  std::filesystem::path path_;
  StoredTensors stored_;
  ForeignNames names_;
  ForeignModel model_;
  std::map<std::string, std::vector<int64_t>> native_shapes_;
  std::map<std::string, std::vector<int64_t>> foreign_shapes_;
  std::map<std::string, StoredType> types_;  ///< of native tensors
  int64_t block_ = 128;
};

/// Native tensors to be written: their types, and the numbers in slabs.
struct NativeWeights {
  std::vector<NamedShape> shapes;
  std::map<std::string, StoredType> types;
  SlabReader read;
};
NativeWeights native_weights_of(const NamedTensors& tensors);

/// The entries of a type for each: `export_type` for plain floating-point ones if given, but an
/// expert bias, whose steps are too small for 16 bits, stays as it is.
StoredType exported_type(const std::string& native, StoredType type,
                         const std::optional<StoredType>& export_type);

struct HuggingFaceExport {
  std::optional<StoredType> type;
  uint64_t max_file_bytes = uint64_t{5'000'000'000};
};

/// Writes shards, index and config.json into an existing, empty folder, and syncs them and it.
/// Warns of an expert bias that is not zero and has no place there. Throws FileError.
void write_hugging_face_folder(FileSystem& file_system, const std::filesystem::path& folder,
                               const HuggingFaceFormat& format, const NativeWeights& weights,
                               const HuggingFaceExport& options);

/// How many bytes its safetensors files would hold.
uint64_t hugging_face_bytes(const HuggingFaceFormat& format, const NativeWeights& weights,
                            const HuggingFaceExport& options);

}  // namespace coeus
