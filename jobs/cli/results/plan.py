"""The document of `msnet plan` and `msnet extract --dry-run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.run.plan import Plan


def plan_document(found: Plan) -> dict[str, Any]:
    """What an extraction would do."""
    return {
        "files": found.files,
        "videos": found.items,
        "bad": [
            {"video_id": video_id, "failure": failure, "message": message} for video_id, failure, message in found.bad
        ],
        "duplicates": found.duplicates,
        "left_out": found.skipped or None,
        "columns": found.columns or None,
        "video_seconds": found.video_seconds,
        "frames": found.frames,
        "network_frames": found.network_frames,
        "clips": found.clips,
        "store_bytes": found.store_bytes,
        "extractors": found.workers.extractors,
        "decoders": found.workers.decoders,
        "on_gpu": found.workers.gpu,
        "files_decoded": found.decoded,
        "decode_seconds": found.decode_seconds,
        "network_seconds": found.network_seconds,
        "wall_seconds": found.wall_seconds,
    }
