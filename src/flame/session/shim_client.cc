#include "flame/session/shim_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>

#include <vector>

#include "flame/base/mutex.h"

namespace flame {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAsk{100};

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& socket_path,
                                           int max_reply) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_reply);
  arguments.SetMaxSendMessageSize(-1);
  // The file is there before anybody listens: try again soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 10);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel("unix:" + socket_path,
                                   grpc::InsecureChannelCredentials(), arguments);
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

}  // namespace

ShimClient::ShimClient(const std::string& socket_path, int max_reply)
    : socket_path_(socket_path),
      max_reply_(max_reply),
      channel_(MakeChannel(socket_path, max_reply)) {}

ShimClient::Reply ShimClient::Invoke(const google::protobuf::MessageLite& task,
                                     const std::function<bool()>& go_on) {
  if (pipe_ == nullptr) return Call("OnTaskInvoke", task, go_on);
  Reply reply;
  reply.status = pipe_->Call(task.SerializeAsString(), max_reply_, go_on, &reply.bytes);
  return reply;
}

bool ShimClient::AwaitConnected(milliseconds patience) {
  return channel_->WaitForConnected(std::chrono::system_clock::now() + patience);
}

ShimClient::Reply ShimClient::Call(const char* method,
                                   const google::protobuf::MessageLite& request,
                                   const std::function<bool()>& go_on) {
  struct Pending {
    Mutex mutex;
    CondVar done_changed;
    bool done GUARDED_BY(mutex) = false;
    grpc::Status status GUARDED_BY(mutex);
  } pending;
  const std::string request_bytes = request.SerializeAsString();
  const grpc::Slice slice(request_bytes);
  const grpc::ByteBuffer request_buffer(&slice, 1);
  grpc::ByteBuffer reply_buffer;
  grpc::ClientContext context;
  grpc::GenericStub stub(channel_);
  stub.UnaryCall(&context, std::string("/flame.v1.Instance/") + method,
                 grpc::StubOptions(), &request_buffer, &reply_buffer,
                 [&pending](grpc::Status status) {
                   MutexLock lock(pending.mutex);
                   pending.status = std::move(status);
                   pending.done = true;
                   pending.done_changed.NotifyOne();
                 });
  bool cancelled = false;
  MutexLock lock(pending.mutex);
  while (!pending.done) {
    const auto next = std::chrono::steady_clock::now() + kAsk;
    if (pending.done_changed.WaitUntil(lock, next) || pending.done || cancelled) continue;
    lock.Unlock();
    if (!go_on()) {
      context.TryCancel();
      cancelled = true;
    }
    lock.Lock();
  }
  Reply reply{pending.status, {}};
  if (reply.status.ok()) reply.bytes = BytesOf(reply_buffer);
  return reply;
}

}  // namespace flame
