#include "flame/tls/credentials.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>

#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using arrow::Result;
using arrow::Status;

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;

/// RSA keys below 2048 bits and their like: TLS libraries refuse them.
constexpr int kMinSecurityBits = 112;
constexpr int64_t kRenewSoonMs = int64_t{14} * 24 * 3600 * 1000;
constexpr std::streamsize kMaxFileBytes = 1 << 20;

/// A setting and the file that it names, for messages.
struct Source {
  std::string setting;
  const std::string& path;

  Status Error(std::string_view what) const { return InvalidError(Line(what)); }
  std::string Line(std::string_view what) const {
    return fmt::format("{} {}: {}", setting, path, what);
  }
};

Bio OpenText(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

/// The library's own words for what just went wrong; forgets them.
std::string LibraryError() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason != nullptr ? reason : "unreadable";
}

Result<std::string> ReadText(const Source& source) {
  errno = 0;
  std::ifstream file(source.path, std::ios::binary);
  std::string text;
  if (file) {
    text.resize(kMaxFileBytes + 1);
    file.read(text.data(), std::ssize(text));
    text.resize(static_cast<size_t>(file.gcount()));
  }
  if (!file && !file.eof()) {
    return source.Error(
        fmt::format("cannot read it: {}", std::strerror(errno != 0 ? errno : EIO)));
  }
  if (std::ssize(text) > kMaxFileBytes)
    return source.Error("it is no PEM file: too large");
  return text;
}

std::string When(const ASN1_TIME* time) {
  const Bio out(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(out.get(), time);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<size_t>(size)};
}

bool IsBefore(const ASN1_TIME* time, int64_t wall_ms) {
  time_t seconds = wall_ms / 1000;
  return X509_cmp_time(time, &seconds) < 0;
}

Result<std::vector<Certificate>> ParseCertificates(const Source& source,
                                                   const std::string& text) {
  const Bio in = OpenText(text);
  std::vector<Certificate> certificates;
  while (X509* next = PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(next);
  }
  // Ends in "no start line" when all of it was read.
  const bool whole = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string error = LibraryError();
  if (!whole) {
    return source.Error(fmt::format("certificate {} in it is damaged: {}",
                                    certificates.size() + 1, error));
  }
  if (certificates.empty()) return source.Error("there is no certificate (PEM) in it");
  return certificates;
}

/// Empty = valid now.
std::string WhyNotValid(const X509& certificate, int64_t wall_ms) {
  const ASN1_TIME* from = X509_get0_notBefore(&certificate);
  const ASN1_TIME* until = X509_get0_notAfter(&certificate);
  if (IsBefore(until, wall_ms)) {
    return fmt::format("expired on {}; renew it", When(until));
  }
  if (!IsBefore(from, wall_ms)) {
    return fmt::format("is not valid before {}; check it and the machine's clock",
                       When(from));
  }
  return {};
}

std::string SubjectOf(const X509& certificate) {
  const Bio out(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(out.get(), X509_get_subject_name(&certificate), 0, XN_FLAG_RFC2253);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<size_t>(size)};
}

bool Covers(X509* certificate, const std::string& host) {
  if (X509_check_ip_asc(certificate, host.c_str(), 0) == 1) return true;
  ERR_clear_error();  // It is no address, then.
  return X509_check_host(certificate, host.data(), host.size(), 0, nullptr) == 1;
}

Status CheckChain(const Source& source, const std::vector<Certificate>& chain,
                  std::string_view host, int64_t now_ms,
                  std::vector<std::string>* warnings) {
  for (size_t i = 0; i < chain.size(); ++i) {
    const std::string why = WhyNotValid(*chain[i], now_ms);
    if (why.empty()) continue;
    return source.Error(i == 0 ? fmt::format("the certificate {}", why)
                               : fmt::format("certificate {} in it ({}) {}", i + 1,
                                             SubjectOf(*chain[i]), why));
  }
  X509* server = chain[0].get();
  if (X509_check_purpose(server, X509_PURPOSE_SSL_SERVER, 0) != 1) {
    return source.Error(
        "the first certificate in it is not for servers (extended key usage); issue one "
        "with serverAuth");
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (X509_check_issued(chain[i].get(), chain[i - 1].get()) == X509_V_OK) continue;
    return source.Error(
        fmt::format("certificate {} in it has not issued the one before; put the "
                    "server's first, then "
                    "each one's issuer",
                    i + 1));
  }
  if (!Covers(server, std::string(host))) {
    warnings->push_back(source.Line(fmt::format(
        "the certificate does not name {}, which clients are told to connect to: they "
        "will refuse it; add it to the subjectAltName, or set cache.advertise",
        host)));
  }
  const ASN1_TIME* until = X509_get0_notAfter(server);
  if (IsBefore(until, now_ms + kRenewSoonMs)) {
    warnings->push_back(source.Line(fmt::format(
        "the certificate expires on {}; renew it and restart the server", When(until))));
  }
  return Status::OK();
}

Status CheckKey(const Source& source, const std::string& text, const X509& certificate,
                const std::string& cert_file) {
  bool encrypted = false;
  const auto no_passphrase = [](char*, int, int, void* asked) {
    *static_cast<bool*>(asked) = true;
    return -1;
  };
  const PrivateKey key(
      PEM_read_bio_PrivateKey(OpenText(text).get(), nullptr, no_passphrase, &encrypted));
  const bool absent = text.find("PRIVATE KEY-----") == std::string::npos;
  const std::string error = LibraryError();
  if (encrypted) {
    return source.Error(
        "the key is encrypted, and a server can ask nobody for the passphrase; decrypt "
        "it "
        "(openssl pkey) and keep the file readable by the server only");
  }
  if (key == nullptr) {
    return source.Error(absent ? "there is no private key (PEM) in it"
                               : fmt::format("the key in it is damaged: {}", error));
  }
  const bool matches = X509_check_private_key(&certificate, key.get()) == 1;
  ERR_clear_error();
  if (!matches) {
    return source.Error(
        fmt::format("the key is not that of the certificate in {}", cert_file));
  }
  if (EVP_PKEY_get_security_bits(key.get()) < kMinSecurityBits) {
    return source.Error(fmt::format(
        "the key ({} bits) is too weak for TLS; use RSA of 2048 bits or more, "
        "or an elliptic curve",
        EVP_PKEY_get_bits(key.get())));
  }
  return Status::OK();
}

/// One that is valid will do; the others are warned of.
Status CheckClientCas(const Source& source, const std::vector<Certificate>& cas,
                      int64_t now_ms, std::vector<std::string>* warnings) {
  std::vector<std::string> bad;
  for (const auto& ca : cas) {
    const std::string why = WhyNotValid(*ca, now_ms);
    if (!why.empty()) bad.push_back(fmt::format("{} {}", SubjectOf(*ca), why));
  }
  if (bad.size() == cas.size()) return source.Error(fmt::format("the CA {}", bad[0]));
  for (const auto& why : bad) {
    warnings->push_back(source.Line(
        fmt::format("the CA {}; certificates that it signed are refused", why)));
  }
  return Status::OK();
}

}  // namespace

Result<TlsCredentials> LoadTlsCredentials(const TlsFiles& files, std::string_view host,
                                          const Clock& clock) {
  const std::string setting = files.section + ".tls.";
  const Source cert_file{setting + "cert_file", files.cert_file};
  const Source key_file{setting + "key_file", files.key_file};
  const int64_t now_ms = clock.WallMs();
  TlsCredentials loaded;
  ARROW_ASSIGN_OR_RAISE(loaded.certificates, ReadText(cert_file));
  ARROW_ASSIGN_OR_RAISE(loaded.key, ReadText(key_file));
  ARROW_ASSIGN_OR_RAISE(const auto chain,
                        ParseCertificates(cert_file, loaded.certificates));
  ARROW_RETURN_NOT_OK(CheckChain(cert_file, chain, host, now_ms, &loaded.warnings));
  ARROW_RETURN_NOT_OK(CheckKey(key_file, loaded.key, *chain[0], files.cert_file));
  if (files.client_ca_file.empty()) return loaded;

  const Source ca_file{setting + "client_ca_file", files.client_ca_file};
  ARROW_ASSIGN_OR_RAISE(loaded.client_cas, ReadText(ca_file));
  ARROW_ASSIGN_OR_RAISE(const auto cas, ParseCertificates(ca_file, loaded.client_cas));
  ARROW_RETURN_NOT_OK(CheckClientCas(ca_file, cas, now_ms, &loaded.warnings));
  return loaded;
}

}  // namespace flame
