"""What passes are: transforms of agents, and settings of the process, kernels among them.

Ways of storing agents, which are passes as well, are in `memprof.storage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memprof.values.measurements import Effect

if TYPE_CHECKING:
    from memprof.storage.activation import Loans


class Setting:
    """Changes the process for as long as a population is in it, never what PyMDP computes.

    It may be told when agents are built and used; `install` is called before the first agent (and,
    for a pass that is `early` in the catalogue, before PyMDP is imported), `close` after the last.
    """

    def install(self) -> None:
        """Prepare the process."""

    def built(self) -> None:
        """An agent is new."""

    def resume(self) -> None:
        """An agent is about to be used."""

    def pause(self) -> None:
        """An agent is no longer used."""

    def not_replaced(self) -> dict[str, str]:
        """PyMDP's functions that were left as they are, or that a user replaced meanwhile, with
        what is not known of them."""
        return {}

    def effect(self) -> Effect:
        """What it has done until now."""
        return Effect()

    def close(self) -> None:
        """Leave the process as it was before `install`."""


class Pass:
    """Changes how an agent's state is stored, never what PyMDP computes.

    An instance belongs to one population and may keep state across its agents; what it keeps is
    charged to the population's ledger. Subclasses override the hooks that they need:

    - `build`, once per new agent, in place;
    - `rest`, when an agent comes to rest, after every use of it or after many, and `wake`, before
      the next one, in place: what the agent looks like in between is the pass's affair;
    - `leave`, when an agent has left for good, and `empty`, when the last one has.

    Attributes:
        packs: attributes that rest in encoded form, where agents stay objects and it is smaller.
    """

    packs: tuple[str, ...] = ()

    def build(self, agent: Any, index: int) -> None:
        """Optimise a newly built agent in place."""

    def rest(self, agent: Any, index: int) -> None:
        """Bring an agent that nobody uses into its stored form, in place."""

    def wake(self, agent: Any, index: int, loans: Loans) -> None:
        """Undo `rest`: the agent is about to be used, and may use what is lent until it rests."""

    def leave(self, index: int) -> None:
        """Forget an agent."""

    def empty(self) -> None:
        """Let go of what was kept for all agents: there is none. Others may come."""

    def effect(self, agents: Sequence[Any]) -> Effect:
        """What it has done until now; `agents` are those that rest as objects, not as records."""
        return Effect()

    def world_array(self, array: Any, first: Any) -> Any:
        """The form in which an agent's environment keeps an array of the model; it would hold the
        array that the pass has just replaced in the agent. `first` is the array at the same place
        in the first environment, the array itself for that one. An array, or a `ChangedArray`;
        best `first` itself where both have the same bits."""
        return array
