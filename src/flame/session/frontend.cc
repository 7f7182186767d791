#include "flame/session/frontend.h"

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/dialect.h"
#include "flame/session/names.h"
#include "flame/session/refusal.h"
#include "flame/session/task_streams.h"
#include "flame/v1/frontend.grpc.pb.h"

namespace flame {
namespace {

using arrow::Status;
using grpc::CallbackServerContext;

/// Of a list's common data: clients take answers of 4 MiB by default.
constexpr int64_t kListBytes = 2 << 20;

Status Missing(std::string_view what) {
  return InvalidRefusal(fmt::format("{} is missing", what));
}

}  // namespace

class Frontend::Service final : public v1::Frontend::CallbackService {
  using Context = CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;

 public:
  Service(SessionManager* manager, const FrontendOptions& options)
      : manager_(manager), dialect_(options.strict_upstream), tasks_(options.tasks) {}

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
      if (!dialect_.strict() && request->has_state() &&
          application.status().state() != request->state())
        continue;
      *response->add_applications() = std::move(application);
    }
    return Answer(context, Status::OK());
  }
  Unary* ListApplications(Context* context, const v1::ListApplicationRequest* request,
                          v1::ApplicationList* response) override {
    if (dialect_.strict()) return Unknown(context);
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
    if (dialect_.strict()) return Unknown(context);
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
    TellOfTasks(context);
    return Answer(context,
                  manager_->CreateSession(request->session_id(), request->session()),
                  response);
  }
  Unary* OpenSession(Context* context, const v1::OpenSessionRequest* request,
                     v1::Session* response) override {
    std::optional<v1::SessionSpec> spec;
    if (request->has_session()) spec = request->session();
    TellOfTasks(context);
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
    return Answer(context, manager_->GetSession(request->session_id()), response,
                  /*changed=*/false);
  }
  Unary* ListSession(Context* context, const v1::ListSessionRequest* request,
                     v1::SessionList* response) override {
    const v1::SessionState state = request->state();
    const bool filter = !dialect_.strict();
    for (v1::Session& session : manager_->ListSessions(
             filter && request->has_application() ? &request->application() : nullptr,
             filter && request->has_state() ? &state : nullptr, kListBytes)) {
      dialect_.Answered(&session, /*changed=*/false);
      *response->add_sessions() = std::move(session);
    }
    return Answer(context, Status::OK());
  }
  Unary* ListSessions(Context* context, const v1::ListSessionRequest* request,
                      v1::SessionList* response) override {
    if (dialect_.strict()) return Unknown(context);
    return ListSession(context, request, response);
  }

  Unary* CreateTask(Context* context, const v1::CreateTaskRequest* request,
                    v1::Task* response) override {
    if (!request->has_task()) return Answer(context, Missing("task spec"));
    TellOfTasks(context);
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
    return new WatchOneReactor(manager_, *request, dialect_);
  }
  grpc::ServerBidiReactor<v1::WatchTaskRequest, v1::Task>* WatchTasks(
      Context* context) override {
    auto* reactor = new WatchManyReactor(manager_, dialect_);
    if (dialect_.strict()) reactor->Refuse(kUnknown);
    return reactor;
  }
  grpc::ServerWriteReactor<v1::Task>* ListTask(
      Context* context, const v1::ListTaskRequest* request) override {
    return new ListReactor(manager_, request->session_id(), dialect_);
  }
  grpc::ServerWriteReactor<v1::Task>* ListTasks(
      Context* context, const v1::ListTaskRequest* request) override {
    if (!dialect_.strict())
      return new ListReactor(manager_, request->session_id(), dialect_);
    return new RefusedList(kUnknown);
  }

 private:
  /// Who is about to hand over tasks learns of the way for clients of this machine, and
  /// by the key whether it is the same machine.
  void TellOfTasks(Context* context) {
    if (tasks_ == nullptr) return;
    context->AddTrailingMetadata("flame-task-socket-bin", tasks_->path());
    context->AddTrailingMetadata("flame-task-key", tasks_->key());
  }
  Unary* Answer(Context* context, const Status& status) {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(dialect_.StatusOf(status));
    return reactor;
  }
  template <typename Message>
  Unary* Answer(Context* context, arrow::Result<Message> result, Message* response,
                [[maybe_unused]] bool changed = true) {
    if (result.ok()) *response = *std::move(result);
    if constexpr (std::is_same_v<Message, v1::Session>)
      dialect_.Answered(response, changed);
    if constexpr (std::is_same_v<Message, v1::Task>) dialect_.Answered(response);
    return Answer(context, result.status());
  }
  /// What clients see as an answer with a code of -1, and what as an error.
  Unary* AnswerResult(Context* context, const Status& status, v1::Result* response) {
    if (!IsStateRefusal(status)) return Answer(context, status);
    response->set_return_code(-1);
    response->set_message(status.message());
    return Answer(context, Status::OK());
  }
  /// A later name of a call.
  static Unary* Unknown(Context* context) {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(kUnknown);
    return reactor;
  }

  static inline const grpc::Status kUnknown{grpc::StatusCode::UNIMPLEMENTED, ""};

  SessionManager* const manager_;
  const Dialect dialect_;
  const TaskDoor* const tasks_;
};

Frontend::Frontend() = default;

arrow::Result<std::unique_ptr<Frontend>> Frontend::Open(const FrontendOptions& options,
                                                        SessionManager* manager) {
  std::unique_ptr<Frontend> frontend(new Frontend());
  frontend->service_ = std::make_unique<Service>(manager, options);
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
