#include "flame/session/frontend.h"

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/grpc_status.h"
#include "flame/session/names.h"
#include "flame/session/refusal.h"
#include "flame/session/watch_queue.h"
#include "flame/v1/frontend.grpc.pb.h"

namespace flame {
namespace {

using arrow::Status;
using grpc::CallbackServerContext;

/// Of a list's common data: clients take answers of 4 MiB by default.
constexpr int64_t kListBytes = 2 << 20;

grpc::ServerUnaryReactor* Answer(CallbackServerContext* context, const Status& status) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

template <typename Message>
grpc::ServerUnaryReactor* Answer(CallbackServerContext* context,
                                 arrow::Result<Message> result, Message* response) {
  if (result.ok()) *response = *std::move(result);
  return Answer(context, result.status());
}

/// What clients see as an answer with a code of -1, and what as an error.
grpc::ServerUnaryReactor* AnswerResult(CallbackServerContext* context,
                                       const Status& status, v1::Result* response) {
  if (!IsStateRefusal(status)) return Answer(context, status);
  response->set_return_code(-1);
  response->set_message(status.message());
  return Answer(context, Status::OK());
}

Status Missing(std::string_view what) {
  return InvalidRefusal(fmt::format("{} is missing", what));
}

/// Writes a session's tasks one by one, as fast as the client reads.
class ListReactor final : public grpc::ServerWriteReactor<v1::Task> {
 public:
  ListReactor(SessionManager* manager, std::string session)
      : manager_(manager), session_(std::move(session)) {
    Next();
  }
  void OnWriteDone(bool ok) override {
    if (ok)
      Next();
    else
      Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { delete this; }

 private:
  void Next() {
    auto task = manager_->NextTask(session_, &after_);
    if (!task.ok() || !*task) {
      Finish(ToGrpc(task.status()));
      return;
    }
    task_ = **std::move(task);
    StartWrite(&task_);
  }

  SessionManager* const manager_;
  const std::string session_;
  uint64_t after_ = 0;
  v1::Task task_;  // Being written.
};

/// Writes the news of a WatchQueue to a stream, one message at a time. `Reactor` is
/// gRPC's class for the kind of stream.
template <typename Reactor>
class WatchReactor : public Reactor {
 public:
  /// `more` = the client may add watches.
  WatchReactor(SessionManager* manager, bool more)
      : queue_(std::make_shared<WatchQueue>(manager, [this] { Pump(); })), more_(more) {}

  void OnWriteDone(bool ok) override {
    if (!ok) {
      End(grpc::Status::CANCELLED);
      return;
    }
    {
      MutexLock lock(mutex_);
      writing_ = false;
    }
    Pump();
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override {
    queue_->Close();
    delete this;
  }

 protected:
  void Watch(const v1::WatchTaskRequest& request) {
    const Status added = queue_->Add(request.session_id(), request.task_id());
    if (!added.ok()) End(ToGrpc(added));
  }
  void NoMore() {
    {
      MutexLock lock(mutex_);
      more_ = false;
    }
    Pump();
  }
  void End(const grpc::Status& status) {
    MutexLock lock(mutex_);
    EndLocked(status);
  }

 private:
  void EndLocked(const grpc::Status& status) REQUIRES(mutex_) {
    if (std::exchange(ended_, true)) return;
    Reactor::Finish(status);
  }

  void Pump() {
    for (;;) {
      {
        MutexLock lock(mutex_);
        if (ended_ || writing_) return;  // OnWriteDone() looks again.
        if (looking_) {
          look_again_ = true;
          return;
        }
        looking_ = true;
        look_again_ = false;
      }
      auto task = queue_->Take();
      MutexLock lock(mutex_);
      looking_ = false;
      if (!task.ok()) {
        EndLocked(ToGrpc(task.status()));
      } else if (*task && !ended_) {
        message_ = **std::move(task);
        writing_ = true;
        Reactor::StartWrite(&message_);
      } else if (look_again_) {
        continue;
      } else if (!more_ && queue_->Finished()) {
        EndLocked(grpc::Status::OK);
      }
      return;
    }
  }

  const std::shared_ptr<WatchQueue> queue_;
  v1::Task message_;  // Being written.

  Mutex mutex_;
  bool more_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;
  bool looking_ GUARDED_BY(mutex_) = false;
  bool look_again_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
};

class WatchOneReactor final : public WatchReactor<grpc::ServerWriteReactor<v1::Task>> {
 public:
  WatchOneReactor(SessionManager* manager, const v1::WatchTaskRequest& request)
      : WatchReactor(manager, /*more=*/false) {
    Watch(request);
  }
};

class WatchManyReactor final
    : public WatchReactor<grpc::ServerBidiReactor<v1::WatchTaskRequest, v1::Task>> {
 public:
  explicit WatchManyReactor(SessionManager* manager)
      : WatchReactor(manager, /*more=*/true) {
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) {
      NoMore();
      return;
    }
    Watch(request_);
    StartRead(&request_);
  }

 private:
  v1::WatchTaskRequest request_;
};

}  // namespace

class Frontend::Service final : public v1::Frontend::CallbackService {
  using Context = CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;

 public:
  explicit Service(SessionManager* manager) : manager_(manager) {}

  Unary* RegisterApplication(Context* context,
                             const v1::RegisterApplicationRequest* request,
                             v1::Result* response) override {
    const Status status =
        request->has_application()
            ? manager_->RegisterApplication(request->name(), request->application())
            : Missing("application spec");
    return AnswerResult(context, status, response);
  }
  Unary* UpdateApplication(Context* context, const v1::UpdateApplicationRequest* request,
                           v1::Result* response) override {
    const Status status =
        request->has_application()
            ? manager_->UpdateApplication(request->name(), request->application())
            : Missing("application spec");
    return AnswerResult(context, status, response);
  }
  Unary* UnregisterApplication(Context* context,
                               const v1::UnregisterApplicationRequest* request,
                               v1::Result* response) override {
    return AnswerResult(context, manager_->UnregisterApplication(request->name()),
                        response);
  }
  Unary* GetApplication(Context* context, const v1::GetApplicationRequest* request,
                        v1::Application* response) override {
    return Answer(context, manager_->GetApplication(request->name()), response);
  }
  Unary* ListApplication(Context* context, const v1::ListApplicationRequest* request,
                         v1::ApplicationList* response) override {
    for (v1::Application& application : manager_->ListApplications()) {
      if (request->has_state() && application.status().state() != request->state())
        continue;
      *response->add_applications() = std::move(application);
    }
    return Answer(context, Status::OK());
  }
  Unary* ListApplications(Context* context, const v1::ListApplicationRequest* request,
                          v1::ApplicationList* response) override {
    return ListApplication(context, request, response);
  }

  Unary* ListExecutor(Context* context, const v1::ListExecutorRequest* request,
                      v1::ExecutorList* response) override {
    for (v1::Executor& executor : manager_->ListExecutors())
      *response->add_executors() = std::move(executor);
    return Answer(context, Status::OK());
  }
  Unary* ListExecutors(Context* context, const v1::ListExecutorRequest* request,
                       v1::ExecutorList* response) override {
    return ListExecutor(context, request, response);
  }
  Unary* ListNodes(Context* context, const v1::ListNodesRequest* request,
                   v1::NodeList* response) override {
    *response->add_nodes() = manager_->Node();
    return Answer(context, Status::OK());
  }
  Unary* GetNode(Context* context, const v1::GetNodeRequest* request,
                 v1::GetNodeResponse* response) override {
    v1::Node node = manager_->Node();
    if (request->name() != node.metadata().name())
      return Answer(context,
                    NotFoundRefusal(fmt::format("node {} not found", request->name())));
    *response->mutable_node() = std::move(node);
    return Answer(context, Status::OK());
  }

  Unary* CreateSession(Context* context, const v1::CreateSessionRequest* request,
                       v1::Session* response) override {
    if (!request->has_session()) return Answer(context, Missing("session spec"));
    return Answer(context,
                  manager_->CreateSession(request->session_id(), request->session()),
                  response);
  }
  Unary* OpenSession(Context* context, const v1::OpenSessionRequest* request,
                     v1::Session* response) override {
    std::optional<v1::SessionSpec> spec;
    if (request->has_session()) spec = request->session();
    return Answer(context, manager_->OpenSession(request->session_id(), std::move(spec)),
                  response);
  }
  Unary* CloseSession(Context* context, const v1::CloseSessionRequest* request,
                      v1::Session* response) override {
    return Answer(context, manager_->CloseSession(request->session_id()), response);
  }
  Unary* DeleteSession(Context* context, const v1::DeleteSessionRequest* request,
                       v1::Session* response) override {
    return Answer(context, manager_->DeleteSession(request->session_id()), response);
  }
  Unary* GetSession(Context* context, const v1::GetSessionRequest* request,
                    v1::Session* response) override {
    return Answer(context, manager_->GetSession(request->session_id()), response);
  }
  Unary* ListSession(Context* context, const v1::ListSessionRequest* request,
                     v1::SessionList* response) override {
    const v1::SessionState state = request->state();
    for (v1::Session& session : manager_->ListSessions(
             request->has_application() ? &request->application() : nullptr,
             request->has_state() ? &state : nullptr, kListBytes))
      *response->add_sessions() = std::move(session);
    return Answer(context, Status::OK());
  }
  Unary* ListSessions(Context* context, const v1::ListSessionRequest* request,
                      v1::SessionList* response) override {
    return ListSession(context, request, response);
  }

  Unary* CreateTask(Context* context, const v1::CreateTaskRequest* request,
                    v1::Task* response) override {
    if (!request->has_task()) return Answer(context, Missing("task spec"));
    return Answer(context, manager_->CreateTask(request->task()), response);
  }
  Unary* GetTask(Context* context, const v1::GetTaskRequest* request,
                 v1::Task* response) override {
    const auto id = ParseTaskId(request->task_id());
    if (!id.ok()) return Answer(context, id.status());
    return Answer(context, manager_->GetTask(request->session_id(), *id), response);
  }
  grpc::ServerWriteReactor<v1::Task>* WatchTask(
      Context* context, const v1::WatchTaskRequest* request) override {
    return new WatchOneReactor(manager_, *request);
  }
  grpc::ServerBidiReactor<v1::WatchTaskRequest, v1::Task>* WatchTasks(
      Context* context) override {
    return new WatchManyReactor(manager_);
  }
  grpc::ServerWriteReactor<v1::Task>* ListTask(
      Context* context, const v1::ListTaskRequest* request) override {
    return new ListReactor(manager_, request->session_id());
  }
  grpc::ServerWriteReactor<v1::Task>* ListTasks(
      Context* context, const v1::ListTaskRequest* request) override {
    return new ListReactor(manager_, request->session_id());
  }

 private:
  SessionManager* const manager_;
};

Frontend::Frontend() = default;

arrow::Result<std::unique_ptr<Frontend>> Frontend::Open(const FrontendOptions& options,
                                                        SessionManager* manager) {
  std::unique_ptr<Frontend> frontend(new Frontend());
  frontend->service_ = std::make_unique<Service>(manager);
  auto credentials = grpc::InsecureServerCredentials();
  if (!options.certificates.empty()) {
    grpc::SslServerCredentialsOptions tls;
    tls.pem_key_cert_pairs.push_back({options.key, options.certificates});
    credentials = grpc::SslServerCredentials(tls);
  }
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.address, credentials, &frontend->port_);
  builder.RegisterService(frontend->service_.get());
  if (options.more != nullptr) builder.RegisterService(options.more);
  // A message is its payload and a few names.
  builder.SetMaxReceiveMessageSize(options.max_message + (1 << 20));
  builder.SetMaxSendMessageSize(-1);
  // A second server on the same port must fail, not take every other call.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  frontend->server_ = builder.BuildAndStart();
  if (frontend->server_ == nullptr || frontend->port_ == 0) {
    return InvalidError(fmt::format(
        "cannot listen on {}: the address is in use, or not one of this machine{}; "
        "choose "
        "another one with --endpoint",
        options.address,
        options.certificates.empty() ? "" : ", or the certificate and key do not match"));
  }
  return frontend;
}

void Frontend::Shutdown(std::chrono::milliseconds patience) {
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + patience);
}

Frontend::~Frontend() { Shutdown(std::chrono::milliseconds(0)); }

}  // namespace flame
