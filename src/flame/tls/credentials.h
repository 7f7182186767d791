// The PEM files that a program is told, read and checked. gRPC would only say that
// it could not start; here each mistake is one line that names the file and what to do.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "flame/base/clock.h"

namespace flame {

struct TlsFiles {
  std::string section;    // Of the settings that name them: "cache", "cluster".
  std::string cert_file;  // The server's certificate, then those between it and a CA.
  std::string key_file;   // The private key of the first one.
  std::string client_ca_file;  // Empty = clients need no certificate.
};

/// What gRPC is to be given: PEM text.
struct TlsCredentials {
  std::string certificates;
  std::string key;
  std::string client_cas;             // Empty = clients need no certificate.
  std::vector<std::string> warnings;  // For the operator, one line each.
};

/// kInvalid, naming the setting and its file, when one of them can't be read or parsed,
/// is expired or not yet valid, is not for servers, or when key and certificate do not
/// belong together. `host` is what clients are told to connect to: a certificate that
/// does not cover it is a warning, because clients may know the server by another name.
arrow::Result<TlsCredentials> LoadTlsCredentials(const TlsFiles& files,
                                                 std::string_view host,
                                                 const Clock& clock);

}  // namespace flame
