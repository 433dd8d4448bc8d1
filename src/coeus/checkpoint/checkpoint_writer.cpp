#include "coeus/checkpoint/checkpoint_writer.h"

#include <torch/types.h>

#include <algorithm>
#include <unordered_map>

#include "coeus/checkpoint/safetensors_folder.h"
#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

/// Takes the bytes of a piece in order and makes a checksum of each chunk.
class ChunkChecksums {
 public:
  explicit ChunkChecksums(uint64_t chunk_bytes) : chunk_bytes_(chunk_bytes) {}

  void update(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto part = bytes.first(std::min<uint64_t>(chunk_bytes_ - taken_, bytes.size()));
      if (taken_ == 0) stream_.emplace();
      stream_->update(part);
      taken_ += part.size();
      if (taken_ == chunk_bytes_) finish_chunk();
      bytes = bytes.subspan(part.size());
    }
  }

  std::vector<Checksum> finish() {
    if (taken_ > 0) finish_chunk();
    return std::move(done_);
  }

 private:
  void finish_chunk() {
    done_.push_back(stream_->digest());
    taken_ = 0;
  }

  uint64_t chunk_bytes_;
  uint64_t taken_ = 0;
  std::optional<ChecksumStream> stream_;
  std::vector<Checksum> done_;
};

StoredType type_to_store(const at::Tensor& tensor, const std::string& name,
                         const std::optional<StoredType>& export_type) {
  StoredType own = stored_type_of(tensor, name);
  return export_type && is_plain_float(own) ? *export_type : own;
}

}  // namespace

CheckpointWriter::CheckpointWriter(const TrainingState& state, const CheckpointContents& contents,
                                   const CheckpointRanks& ranks)
    : contents_(contents), rank_(ranks.rank()), ranks_(ranks.size()) {
  manifest_.coeus_version = COEUS_VERSION;
  manifest_.step = contents.step;
  manifest_.chunk_bytes = contents.chunk_bytes;
  plan_part("model", state.model, state.model_slices, contents.export_type);
  if (!contents.model_only) {
    plan_part("optimizer", state.optimizer, state.optimizer_slices, std::nullopt);
    manifest_.states = state.states;
  }
  for (const auto& [name, file] : manifest_.files) bytes_ += file.bytes;
  bytes_ += to_text(manifest_).size();
}

void CheckpointWriter::plan_part(const std::string& part, const NamedTensors& tensors,
                                 const HeldSlices& slices,
                                 const std::optional<StoredType>& export_type) {
  auto& list = manifest_.tensors[part];
  std::vector<std::vector<Piece>> files(1);
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    COEUS_CHECK(places_[part].emplace(name, list.size()).second,
                "[checkpoint] two tensors of the {} have the name '{}'; names must differ", part,
                name);
    const HeldSlice held = held_slice(slices, name, tensor);
    const StoredType type = type_to_store(tensor, name, export_type);
    list.push_back({name, type, held.slice.whole, {}});
    if (!held.is_writer || (held.slice.numel() == 0 && !held.slice.is_whole())) continue;
    const uint64_t more = tensor.nbytes();
    if (!files.back().empty() && bytes + more > contents_.max_file_bytes) {
      files.emplace_back();
      bytes = 0;
    }
    bytes += more;
    files.back().push_back({name, tensor, held.slice, type});
  }
  // Whoever looks into the folder of a single process finds each part, even one without tensors.
  if (ranks_ > 1 && files.back().empty()) return;
  const std::string stem = ranks_ == 1 ? part : fmt::format("{}-rank-{:05}", part, rank_);
  for (size_t i = 0; i < files.size(); ++i) {
    plan_file(part,
              files.size() == 1
                  ? fmt::format("{}.safetensors", stem)
                  : fmt::format("{}-{:05}-of-{:05}.safetensors", stem, i + 1, files.size()),
              std::move(files[i]));
  }
}

void CheckpointWriter::plan_file(const std::string& part, const std::string& name,
                                 std::vector<Piece> pieces) {
  std::vector<SafetensorsEntry> entries;
  std::unordered_map<std::string, Piece> by_name;
  for (Piece& piece : pieces) {
    const std::string piece_name = name_of_piece(piece.tensor, piece.slice);
    entries.push_back({piece_name, piece.type, piece.slice.size});
    by_name.emplace(piece_name, std::move(piece));
  }
  PlannedFile file{part, name, lay_out_safetensors(std::move(entries), {{"format", "pt"}}), {}};
  uint64_t end = file.layout.header.data_begin;
  for (const SafetensorsEntry& entry : file.layout.header.tensors) {
    Piece& piece = file.pieces.emplace_back(std::move(by_name.at(entry.name)));
    // With as many checksums as there will be, so that the manifest has its size already.
    const std::vector<Checksum> checksums(
        chunks_of(entry.end - entry.begin, contents_.chunk_bytes));
    listed(part, piece.tensor)
        .pieces.push_back(
            {piece.slice, name, entry.begin, entry.end, checksums, contents_.chunk_bytes});
    end = entry.end;
  }
  manifest_.files[name] = {end, checksum_of(file.layout.header_bytes)};
  files_.push_back(std::move(file));
}

StoredTensor& CheckpointWriter::listed(const std::string& part, const std::string& tensor) {
  return manifest_.tensors.at(part).at(places_.at(part).at(tensor));
}

void CheckpointWriter::write_file(FileSystem& file_system, const fs::path& folder,
                                  const PlannedFile& file) {
  auto out = file_system.create(folder / file.name);
  out->write(std::as_bytes(std::span(file.layout.header_bytes)));
  for (const Piece& piece : file.pieces) {
    ChunkChecksums checksums(contents_.chunk_bytes);
    for_each_piece(piece.values, piece.type, [&](std::span<const std::byte> bytes) {
      checksums.update(bytes);
      out->write(bytes);
    });
    listed(file.part, piece.tensor).pieces.at(0).checksums = checksums.finish();
  }
  out->sync();
  out->close();
}

void CheckpointWriter::write_files(FileSystem& file_system, const fs::path& folder) {
  for (const PlannedFile& file : files_) write_file(file_system, folder, file);
}

void CheckpointWriter::write(FileSystem& file_system, const fs::path& folder) {
  write_files(file_system, folder);
  write_manifest(file_system, folder, manifest_);
}

void write_manifest(FileSystem& file_system, const fs::path& folder, const Manifest& manifest) {
  write_synced(file_system, folder / kManifestName, to_text(manifest));
  file_system.sync_folder(folder);
}

Manifest merged(std::vector<Manifest> of_ranks) {
  Manifest whole = std::move(of_ranks.at(0));
  for (size_t rank = 1; rank < of_ranks.size(); ++rank) {
    whole.files.merge(of_ranks[rank].files);
    COEUS_ASSERT(of_ranks[rank].files.empty());
  }
  for (auto& [part, tensors] : whole.tensors) {
    std::unordered_map<std::string, size_t> places;
    for (size_t i = 0; i < tensors.size(); ++i) places.emplace(tensors[i].name, i);
    for (size_t rank = 1; rank < of_ranks.size(); ++rank) {
      for (StoredTensor& tensor : of_ranks[rank].tensors.at(part)) {
        const auto [place, is_new] = places.emplace(tensor.name, tensors.size());
        if (is_new) {
          tensors.push_back(std::move(tensor));
          continue;
        }
        StoredTensor& known = tensors[place->second];
        COEUS_CHECK(known.shape == tensor.shape && known.type == tensor.type,
                    "[checkpoint] '{}' is {} [{}] on rank {}, {} [{}] before", tensor.name,
                    name_of(tensor.type), fmt::join(tensor.shape, ", "), rank, name_of(known.type),
                    fmt::join(known.shape, ", "));
        for (StoredPiece& piece : tensor.pieces) known.pieces.push_back(std::move(piece));
      }
    }
  }
  check_covered(whole);
  return whole;
}

}  // namespace coeus
