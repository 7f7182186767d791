"""A service written with the published client; tasks tell it what to do, one word and the rest."""

import importlib
import os
import resource
import signal
import subprocess
import sys
import time

from flamepy.core import client
from flamepy.core.service import FlameService, run


class Service(FlameService):
    def on_session_enter(self, context):
        self.data = (context.common_data() or b"").decode()
        self.context = context
        word, _, rest = self.data.partition(" ")
        if word == "refuse":
            raise ValueError(rest)
        if word == "hang-on-enter":
            time.sleep(600)
        if word == "die-on-enter":
            print("no model here", file=sys.stderr)
            os._exit(7)
        self._note("enter")

    def on_task_invoke(self, context):
        word, _, rest = (context.input or b"").decode().partition(" ")
        return getattr(self, "do_" + word.replace("-", "_"))(context, rest)

    def on_session_leave(self):
        self._note("leave")
        word, _, key = self.data.partition(" ")
        if word == "store":
            from flamepy.core.cache import put_object

            put_object(key, "good bye")
        if self.data == "hang-on-leave":
            time.sleep(600)

    def _note(self, text):
        """One line in the file that the common data names, if it names one."""
        word, _, path = self.data.partition(" ")
        if word == "notes":
            with open(path, "a") as notes:
                notes.write(text + "\n")

    def do_echo(self, context, text):
        return text.encode()

    def do_nothing(self, context, text):
        return None

    def do_note(self, context, text):
        self._note(text)
        return text.encode()

    def do_pid(self, context, text):
        return str(os.getpid()).encode()

    def do_ids(self, context, text):
        return f"{context.session_id}/{context.task_id}".encode()

    def do_application(self, context, text):
        a = self.context.application
        return f"{a.name} {a.command} {a.working_directory}".encode()

    def do_env(self, context, name):
        return os.environ.get(name, "(not set)").encode()

    def do_import(self, context, name):
        return importlib.import_module(name).TEXT.encode()

    def do_exit(self, context, code):
        sys.exit(int(code) if code.isdigit() else code)

    def do_write(self, context, text):
        print(text, flush=True)
        print(text.upper(), file=sys.stderr, flush=True)
        return text.encode()

    def do_environ(self, context, text):
        return " ".join(sorted(os.environ)).encode()

    def do_raise(self, context, text):
        raise ValueError(text)

    def do_die(self, context, text):
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def do_wait_for(self, context, path):
        self._note("waiting " + context.task_id)
        while not os.path.exists(path):
            time.sleep(0.01)
        self._note("done " + context.task_id)
        return b"waited"

    def do_fork(self, context, text):
        """A child that leaves the process group and outlives everybody."""
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        return str(child.pid).encode()

    def do_fork_many(self, context, count):
        """Sessions of their own, each with a child that nobody waits for."""
        for _ in range(int(count)):
            subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"], start_new_session=True)
        return b"forked"

    def do_exhaust_memory(self, context, size):
        """As under a limit of a container: what is above it, the system refuses."""
        resource.setrlimit(resource.RLIMIT_AS, (int(size), resource.RLIM_INFINITY))
        try:
            hoard = []
            while True:
                hoard.append(bytearray(16 << 20))
        finally:
            hoard = None
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

    def do_print(self, context, size):
        for _ in range(int(size) >> 20):
            sys.stderr.write("x" * (1 << 20))
        sys.stderr.flush()
        return b"printed"

    def do_zeros(self, context, size):
        return bytes(int(size))

    def do_recurse(self, context, depth):
        if int(depth) == 0:
            return b"0"
        connection = client.connect(os.environ["FLAME_ENDPOINT"])
        session = connection.open_session(context.session_id)
        inner = session.invoke(f"recurse {int(depth) - 1}".encode())
        return str(int(inner) + 1).encode()


if len(sys.argv) > 1 and sys.argv[1] == "ignores-sigterm":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) > 1 and sys.argv[1] == "never-listens":
    time.sleep(600)
if len(sys.argv) > 1 and sys.argv[1] == "ends-at-once":
    sys.exit("cannot find my licence")
run(Service())
