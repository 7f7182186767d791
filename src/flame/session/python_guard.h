// PythonGuard: a service in Python whose task raises SystemExit ends, instead of never
// answering. gRPC's Python server catches only what is an Exception: anything else ends
// in a thread that nobody asks, and the call stays open for ever.
//
// A folder with a sitecustomize.py, which Python runs before the service; it takes itself
// out of the way and changes nothing but what gRPC does then.
#pragma once

#include <string>

#include <arrow/result.h>

namespace flame {

/// Write it to `folder`, which is then to stand first in PYTHONPATH.
arrow::Status WritePythonGuard(const std::string& folder);

}  // namespace flame
