// The documentation of every key, made from the keys themselves so that it cannot go stale.
#pragma once

#include <string>

namespace coeus {

/// docs/configuration.md: how a configuration is written, and for every section its keys with type,
/// default, meaning and whether coeus honours them.
std::string config_reference();

}  // namespace coeus
