"""Networks that change size: channel groups of any plain module, widening, narrowing, an optimizer that follows."""

from autogrow.network.channel_groups import ChannelGroup, FixedGroup, Member
from autogrow.network.expandable import ExpandableNetwork, Widening

__all__ = ["ChannelGroup", "ExpandableNetwork", "FixedGroup", "Member", "Widening"]
