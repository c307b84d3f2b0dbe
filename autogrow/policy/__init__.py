"""Growth policies: frozen records and pure functions of records. Nothing here knows of modules or tensors."""

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import GroupStatistics, GrowthEvent, Sample
from autogrow.policy.training_settings import TrainingSettings

__all__ = ["GroupStatistics", "GrowthEvent", "GrowthPolicy", "Sample", "TrainingSettings"]
