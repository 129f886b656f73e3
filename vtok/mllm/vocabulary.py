"""The vocabulary of the small models: common words; other text is split into shorter pieces and bytes."""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

WORDS = """
a about above across after again against all almost along also always an and animal another any are area around as at
away back background ball be because bed before begin behind below beside best between big bird black blue boat body
book both bottom box boy bread bridge bright bring brown build building bus but by call camera can car cat catch chair
change child circle circles city clean clear clip close cloud coat cold colour come corner count country cover cow
cross crosses cup cut dark day describe desk did different dish do does dog door down draw drink drive dry each early
eat empty end enter even evening every eye face fall family far fast field fill find fire first fish five floor flower
fly follow food foot for forest forward four frame friend from front fruit full game garden girl give glass go goes
grass green grey ground group grow hair half hall hand happen hard has hat have he head hear help her here high hill
his hold home horse hot house how in inside into is it its jump keep kind kitchen lady lake large last late lay lead
leaf leave left leg less let lies life lift light like line little long look low machine make man many map mark meet
men middle milk mountain mouth move movement moves much music name near new next night no not nothing now number
object objects of off old on once one only open orange order other out outside over page paint pan pans paper park
part past people person phone pick picture piece place plane plant plate play point pour pull purple push put question
quick rain raise reach read red rest ride right ring rise river road rock roll room round run same sand say sea second
see shape she shelf ship shirt shoe shop short show shows side sign sing sit six sky sleep slow slowly small smile
snow so some song sound speed spin square squares stage stand standing stands star start still stone stop store street
strong sun surface sweet swim table take talk tall ten than that the their them then there these they thing things
third this three through throw time to together top touch towards town train travel tree triangle triangles truck true
turn turns two under until up use van very video view walk walks wall want warm was wash watch water way wear what
wheel where which while white who why wide wind window with woman women wood word work world write yellow yes you
young zoom zooms
""".split()  # noqa: SIM905


def byte_level_bpe(special_tokens: Sequence[str], *, add_prefix_space: bool) -> Tokenizer:
    """A byte-level BPE trained on WORDS. It reads no file and can encode any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word}" for word in WORDS], trainer=trainer)
    return tokenizer
