// What the configuration means to the parts that the program is built from.
#pragma once

#include <memory>
#include <string>

#include <arrow/result.h>

#include "flame/config/manager_config.h"
#include "flame/session/executor.h"
#include "flame/session/frontend.h"
#include "flame/session/session_manager.h"
#include "flame/session/session_store.h"

namespace flame {

arrow::Result<std::unique_ptr<SessionStore>> OpenSessionStore(
    const ManagerConfig& config);
SessionManagerOptions SessionManagerOptionsOf(const ManagerConfig& config);
InstanceLogOptions InstanceLogOptionsOf(const ManagerConfig& config);
/// All but the endpoint, which may depend on the port.
ExecutorOptions ExecutorOptionsOf(const ManagerConfig& config,
                                  const std::string& cache_url);
/// Reads and checks the certificate and the key.
arrow::Result<FrontendOptions> FrontendOptionsOf(const ManagerConfig& config);
/// What services on this machine connect to.
std::string UrlOf(const ManagerConfig& config, int port);
/// "127.0.0.1:8080", for people.
std::string ListeningOn(const ManagerConfig& config, int port);

}  // namespace flame
