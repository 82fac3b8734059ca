from .commits.commit import commit_shard as commit_shard, retire as retire
from .commits.lease import Lease as Lease
from .commits.records import CommitStatus as CommitStatus, next_generation as next_generation
from .commits.run import Run as Run, read_run as read_run, write_run as write_run
from .commits.snapshot import committed as committed
from .commits.staging import (
    Attempt as Attempt,
    StagingLog as StagingLog,
    new_attempt as new_attempt,
    staged_items as staged_items,
)
from .commits.sweeping import sweep as sweep
from .disk.probe import probe_storage as probe_storage
from .manifest import write_manifest_cache as write_manifest_cache
from .reader import FeatureStore as FeatureStore
from .samples.collating import pad_collate as pad_collate
from .samples.dataset import FeatureDataset as FeatureDataset
from .samples.sampler import ShardSampler as ShardSampler
from .tables import read_inventory as read_inventory, write_inventory as write_inventory
