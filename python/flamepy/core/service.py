"""The service side, where code written for flamepy 0.6 imports it from."""

from flamepy.core.sessions.service import (
    FLAME_INSTANCE_ENDPOINT,
    ApplicationContext,
    FlameService,
    SessionContext,
    TaskContext,
    run,
)

__all__ = [
    "FLAME_INSTANCE_ENDPOINT",
    "ApplicationContext",
    "FlameService",
    "SessionContext",
    "TaskContext",
    "run",
]
