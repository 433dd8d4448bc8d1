#pragma once

namespace coeus::palm {

/// Makes model.name = "palm" known. Call once, before the first configuration is used.
void register_family();

}  // namespace coeus::palm
