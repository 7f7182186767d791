#include "flame/session/python_guard.h"

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "flame/base/error.h"

namespace flame {
namespace {

constexpr char kSource[] =
    R"py("""Written by flame-session-manager; see docs/internals/sessions.md.

Nothing is imported here that Python has not loaded already: every start pays for it.
"""

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _guard(module):
    original = getattr(module, "_call_behavior", None)
    if original is None:
        return

    def call(*args, **kwargs):
        try:
            return original(*args, **kwargs)
        except Exception:
            raise
        except BaseException as error:
            import traceback

            traceback.print_exc()
            code = error.code if isinstance(error, SystemExit) else 1
            if code is not None and not isinstance(code, int):
                print(code, file=sys.stderr)
                code = 1
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except Exception:
                    pass
            os._exit((code or 0) & 0xFF)

    module._call_behavior = call


class _Finder:
    """Waits for gRPC's server to be imported, if ever."""

    def find_spec(self, name, path=None, target=None):
        if name != "grpc._server":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            found = finder.find_spec(name, path, target)
            if found is None:
                continue
            load = found.loader.exec_module

            def exec_module(module):
                load(module)
                _guard(module)

            try:
                found.loader.exec_module = exec_module
            except AttributeError:
                pass
            return found
        return None


def _leave():
    """As if this file were not there: for the service, for its children, and for another
    sitecustomize."""
    sys.path[:] = [entry for entry in sys.path if entry != _FOLDER]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    rest = os.pathsep.join(entry for entry in paths if entry != _FOLDER)
    if rest:
        os.environ["PYTHONPATH"] = rest
    else:
        os.environ.pop("PYTHONPATH", None)
    mine = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        if mine is not None:
            sys.modules["sitecustomize"] = mine


sys.meta_path.insert(0, _Finder())
_leave()
)py";

}  // namespace

arrow::Status WritePythonGuard(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return ErrnoError(error.value(), "create", folder);
  const std::string file = folder + "/sitecustomize.py";
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << kSource << std::flush;
  if (!out) return ErrnoError(errno, "write", file);
  return arrow::Status::OK();
}

}  // namespace flame
