#include "flame/session/logs_service.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "flame/session/grpc_status.h"
#include "flame/session/refusal.h"

namespace flame {
namespace {

namespace pb = manager::v1;
using arrow::Status;

constexpr size_t kChunkBytes = 64 << 10;
/// How often a file is looked at that somebody follows.
constexpr std::chrono::milliseconds kLook{100};

pb::LogStream StreamOf(bool is_error) {
  return is_error ? pb::LOG_STREAM_ERR : pb::LOG_STREAM_OUT;
}

}  // namespace

/// One ReadLog call. gRPC calls it on its threads, Look() is called by the follower.
class LogsService::Reader : public grpc::ServerWriteReactor<pb::LogChunk>,
                            public std::enable_shared_from_this<Reader> {
 public:
  Reader(LogsService* service, const pb::ReadLogRequest& request)
      : service_(service), request_(request) {}
  ~Reader() override {
    for (const auto& [name, file] : files_) {
      if (file.fd >= 0) close(file.fd);
    }
  }

  void Begin() {
    MutexLock lock(mutex_);
    const bool session = !request_.session_id().empty();
    if (session == !request_.instance_id().empty()) {
      FinishLocked(InvalidRefusal("name either a session_id or an instance_id"));
    } else if (request_.tail_bytes() < 0) {
      FinishLocked(InvalidRefusal("tail_bytes is negative"));
    } else if (Known().empty() &&
               !(session && service_->manager_->GetSession(request_.session_id()).ok())) {
      FinishLocked(NotFoundRefusal(
          session ? fmt::format("Session {} not found", request_.session_id())
                  : fmt::format("nothing is known of the instance {}",
                                request_.instance_id())));
    } else {
      Next();
    }
  }
  void OnWriteDone(bool ok) override {
    MutexLock lock(mutex_);
    writing_ = false;
    if (ok) {
      Next();
    } else {
      FinishLocked(Status::Cancelled("the client is gone"));
    }
  }
  void OnCancel() override {
    MutexLock lock(mutex_);
    FinishLocked(Status::Cancelled("the client is gone"));
  }
  void OnDone() override {
    const auto self = shared_from_this();  // It may go with the entry.
    MutexLock lock(service_->mutex_);
    service_->readers_.erase(self);
    service_->changed_.NotifyAll();
  }
  /// Something may have been written.
  void Look() {
    MutexLock lock(mutex_);
    if (!writing_) Next();
  }

 private:
  struct File {
    int fd = -1;
    off_t offset = 0;
    bool over = false;  // The instance has ended, and all of it is read.
  };

  std::vector<InstanceLog> Known() const {
    auto logs = service_->logs_->List(request_.session_id(), request_.instance_id(), "");
    std::erase_if(logs, [this](const InstanceLog& log) {
      return request_.stream() != pb::LOG_STREAM_UNSPECIFIED &&
             request_.stream() != StreamOf(log.is_error);
    });
    return logs;
  }

  /// Write the next chunk, end, or wait for the follower.
  void Next() REQUIRES(mutex_) {
    if (finished_) return;
    // Before the files are listed: what is not there then never comes.
    const bool closed = !request_.session_id().empty() &&
                        !service_->manager_->IsOpen(request_.session_id());
    bool running = false;
    for (const InstanceLog& log : Known()) {
      const std::string name = log.instance + (log.is_error ? ".err" : ".out");
      auto [at, first] = files_.try_emplace(name);
      File& file = at->second;
      if (first) Open(log, &file);
      running = running || !log.end_ms;
      if (file.over) continue;
      if (Read(log, &file)) {
        writing_ = true;
        StartWrite(&chunk_);
        return;
      }
      file.over = log.end_ms.has_value();
      if (file.over && file.fd >= 0) close(std::exchange(file.fd, -1));
    }
    const bool more = request_.instance_id().empty() ? !closed || running : running;
    if (!request_.follow() || !more) FinishLocked(Status::OK());
  }

  void Open(const InstanceLog& log, File* file) REQUIRES(mutex_) {
    const auto fd = service_->logs_->Open(log.instance, log.is_error);
    file->fd = fd.ok() ? *fd : -1;
    if (request_.tail_bytes() > 0)
      file->offset = std::max<off_t>(0, Size(*file) - request_.tail_bytes());
    end_[file] = request_.follow() ? -1 : Size(*file);
  }
  static off_t Size(const File& file) {
    struct stat info {};
    return file.fd >= 0 && fstat(file.fd, &info) == 0 ? info.st_size : 0;
  }

  /// Without following, what is written meanwhile is left out: it may never end.
  bool Read(const InstanceLog& log, File* file) REQUIRES(mutex_) {
    const off_t size = Size(*file);
    const bool gap = size < file->offset;
    if (gap) file->offset = 0;
    const off_t limit = end_[file] < 0 ? size : std::min<off_t>(size, end_[file]);
    if (file->offset >= limit) return false;
    std::string* data = chunk_.mutable_data();
    data->resize(
        std::min<size_t>(kChunkBytes, static_cast<size_t>(limit - file->offset)));
    const ssize_t read = pread(file->fd, data->data(), data->size(), file->offset);
    if (read <= 0) return false;
    data->resize(static_cast<size_t>(read));
    file->offset += read;
    chunk_.set_instance_id(log.instance);
    chunk_.set_stream(StreamOf(log.is_error));
    chunk_.set_gap(gap);
    return true;
  }

  void FinishLocked(const Status& status) REQUIRES(mutex_) {
    if (std::exchange(finished_, true)) return;
    Finish(ToGrpc(status));
  }

  LogsService* const service_;
  const pb::ReadLogRequest request_;

  Mutex mutex_;
  pb::LogChunk chunk_;  // Being written.
  std::map<std::string, File> files_ GUARDED_BY(mutex_);
  std::map<const File*, off_t> end_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;
};

LogsService::LogsService(const SessionManager* manager, const InstanceLogs* logs)
    : manager_(manager), logs_(logs), follower_([this] { Follow(); }) {}

LogsService::~LogsService() {
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  follower_.join();
}

void LogsService::Follow() {
  MutexLock lock(mutex_);
  while (!stopped_) {
    if (readers_.empty()) {
      changed_.Wait(lock);
      continue;
    }
    const std::vector<std::shared_ptr<Reader>> readers(readers_.begin(), readers_.end());
    lock.Unlock();
    for (const auto& reader : readers) reader->Look();
    lock.Lock();
    const auto next = std::chrono::steady_clock::now() + kLook;
    while (!stopped_ && changed_.WaitUntil(lock, next)) {
    }
  }
}

grpc::ServerUnaryReactor* LogsService::ListLogs(grpc::CallbackServerContext* context,
                                                const pb::ListLogsRequest* request,
                                                pb::ListLogsResponse* response) {
  for (const InstanceLog& log : logs_->List(request->session_id(), request->instance_id(),
                                            request->application())) {
    pb::Log* added = response->add_logs();
    added->set_instance_id(log.instance);
    added->set_session_id(log.session);
    added->set_application(log.application);
    added->set_stream(StreamOf(log.is_error));
    added->set_size(log.size);
    added->set_start_time(log.start_ms);
    if (log.end_ms) added->set_end_time(*log.end_ms);
    added->set_cut(log.cut);
  }
  auto* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<pb::LogChunk>* LogsService::ReadLog(
    grpc::CallbackServerContext* /*context*/, const pb::ReadLogRequest* request) {
  const auto reader = std::make_shared<Reader>(this, *request);
  reader->Begin();
  // Only now, or the follower might end what has not begun. It cannot be done yet: gRPC
  // waits for us to return.
  MutexLock lock(mutex_);
  readers_.insert(reader);
  changed_.NotifyAll();
  return reader.get();
}

}  // namespace flame
