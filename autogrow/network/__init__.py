"""Networks that change size: channel groups of any plain module, widening, narrowing, an optimizer that follows."""

from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.resizing.prepared_resizing import Widening
from autogrow.network.structure.channel_groups import ChannelGroup, FixedGroup, Member

__all__ = ["ChannelGroup", "ExpandableNetwork", "FixedGroup", "Member", "Widening"]
