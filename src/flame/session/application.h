// Applications: which specifications are taken, what is filled in, and those that every
// session manager has.
#pragma once

#include <vector>

#include <arrow/status.h>

#include "flame/v1/types.pb.h"

namespace flame {

/// kInvalid for a relative working directory and for a schema that is not a JSON Schema.
arrow::Status CheckApplicationSpec(const v1::ApplicationSpec& spec);
/// The two fields that are given back though they were not set, and no empty working
/// directory.
void FillApplicationDefaults(v1::ApplicationSpec* spec);

struct NamedApplication {
  const char* name;
  v1::ApplicationSpec spec;
};
/// flmrun, flmping and flmexec; clients check their command lines word by word.
std::vector<NamedApplication> StartUpApplications();

}  // namespace flame
