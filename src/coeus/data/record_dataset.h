// Data sets whose files hold one document after another.
#pragma once

#include <memory>

#include "coeus/data/dataset.h"
#include "coeus/data/file_dataset_options.h"

namespace coeus {

/// JSON lines, {"text": …} each: a file, or a folder's *.json and *.jsonl, also as .gz and .zst.
/// In order, or shuffled: then an index of 8 bytes a document is made in one pass over the files
/// before the first document, and compressed files are held in memory.
std::unique_ptr<Dataset> make_json_dataset(const FileDatasetOptions& options);

/// JSON lines of text with images (read_image_text_line), files and order as of make_json_dataset.
std::unique_ptr<Dataset> make_image_text_dataset(const FileDatasetOptions& options);

/// The fortune program's files: documents between lines of a single %, in a file or in a folder's
/// files but those in .dat and .u8.
std::unique_ptr<Dataset> make_fortunes_dataset(const FileDatasetOptions& options);

}  // namespace coeus
