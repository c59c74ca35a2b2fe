"""Construct what changes batches before the model reads them: RecBole's transforms, with an end to BERT4Rec's sampling."""

from __future__ import annotations

from recbole.data import transform as recbole_transform

from recbole_echomamba.system.errors import UserError


class MaskItemSequence(recbole_transform.MaskItemSequence):
    """Mask items as RecBole does, also where a history holds every item of the dataset.

    RecBole draws until an item is not in the history, which never ends there. Cross-entropy does not read the item that is
    drawn, so it is padding then; BPR has no use for such a history.
    """

    def _neg_sample(self, item_set, n_items):
        # the history is a list of all slots, so most datasets need no look at it
        if n_items - 1 <= len(item_set) and len({*item_set} - {0}) == n_items - 1:
            if self.config["loss_type"] != "CE":
                raise UserError(
                    f"a history holds all {n_items - 1} items of dataset {self.config['dataset']}, so loss_type: "
                    f"{self.config['loss_type']} has no negative item; set loss_type: CE or a smaller MAX_ITEM_LIST_LENGTH"
                )
            return 0
        return super()._neg_sample(item_set, n_items)


def construct_transform(config):
    """Return the function ``(dataset, interaction) -> interaction`` that the setting ``transform`` names.

    Raises:
        UserError: a batch cannot be transformed, when the function is called.
    """
    if config["transform"] == "mask_itemseq":
        return MaskItemSequence(config)
    return recbole_transform.construct_transform(config)
