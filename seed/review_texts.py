"""What customers write after a visit: a rating and a comment.

The key is a kind of service, or a word in the titles of the services that the comments fit.
"""

from collections.abc import Mapping

from seed.studio import ServiceSpec

REVIEW_TEXTS: Mapping[str, tuple[tuple[int, str], ...]] = {
    "hair": (
        (5, "Brought three pictures that contradicted each other and still left with exactly what I wanted."),
        (5, "Second visit, same hands, same result. I have stopped looking elsewhere."),
        (5, "Got a free slot the same afternoon and was served on the minute. That never happens in Neukölln."),
        (5, "I nearly fell asleep while my hair was being washed. What a head massage."),
        (5, "Very honest advice: I was talked out of something expensive and I am glad of it."),
        (4, "Great work. The music was a bit loud for my taste, but they turned it down when I asked."),
        (4, "Lovely result, though I waited ten minutes past my time. I got a coffee and an apology."),
        (4, "Good as always. Parking around here is hopeless, take the U8."),
        (4, "Nice people and careful hands, only the chair by the window is draughty in the morning."),
        (3, "Fine in the end, but I felt rushed and dried half of it myself at home."),
        (3, "Decent, though not what I showed in the picture. They offered to correct it for free, so three stars."),
        (3, "Good work, but twice interrupted by the phone. Somebody else should answer it."),
        (1, "Waited twenty-five minutes and then got half the time I had booked. Not again on a Saturday."),
    ),
    "Cut and Style": (
        (5, "Best cut I have had in years. It falls right without any effort."),
        (5, "Finally someone who listens when I say two centimetres. It really was two centimetres."),
        (5, "My curls were treated with respect for once. No razor, no drama, lovely shape."),
        (5, "The fringe is perfect, and I was shown how to keep it that way."),
        (4, "Solid trim and a pleasant chat. The blow-dry could have been a little less stiff."),
        (2, "Asked for shoulder length, left with a bob. It suits me, I am told. Still."),
    ),
    "Beard": (
        (5, "In and out in half an hour, beard included, and the hot towel is the best part of my week."),
        (5, "Took my grandfather along. Patient, friendly, and he looks ten years younger."),
        (4, "Clean fade, tidy beard. I would have liked a mirror for the back."),
    ),
    "Colour": (
        (5, "The colour has kept for six weeks now and still looks fresh. Worth every cent."),
        (4, "Careful work on my roots. I would have liked to know about the patch test before the day itself."),
        (2, "Came out darker than agreed. It was fixed a week later, but that cost me another evening."),
    ),
    "Balayage": (
        (5, "Strangers ask me where I spent my holidays. In the chair at Linden, I say."),
        (4, "Happy with it, if a touch warmer than I had imagined. It settled after two washes."),
    ),
    "body": (
        (5, "Quiet, warm, unhurried. It was over far too soon."),
        (5, "I have tried a dozen places in Berlin and will stop here."),
        (5, "No pan flutes, no sales talk. Thank you."),
        (4, "Relaxing, professional, easy to book. I would have liked five more minutes to get up in peace."),
        (4, "Very good, though one hears the street when the tram goes by."),
        (3, "It was fine. The reminder mail came twice and the door bell did not work."),
        (2, "Started ten minutes late and still ended on time. For this price I expect the full time."),
    ),
    "Massage": (
        (5, "I came in with a stiff neck from two weeks of deadlines and can look over my shoulder again."),
        (5, "Exactly the right pressure, and I was asked twice whether it still was. Wonderful."),
        (5, "Found the knot nobody else has found. It hurt for a moment and has been gone since Tuesday."),
        (5, "Booked at lunch, lay on the table at four. My back and I are grateful."),
        (4, "Very good hands. The room was a little cool at first, a second blanket fixed that."),
        (4, "Lovely. The oil was a bit too much and the shower is down the corridor."),
        (4, "I was sore for a day, as I had been warned, and better on the next."),
        (3, "Pleasant, but lighter than I had asked for, also after I said so."),
        (2, "Competent, but there was talk all the way through. I had come for the quiet."),
    ),
    "Drainage": (
        (5, "After my knee operation the swelling went down visibly. Very gentle and very competent."),
        (4, "It did help my legs after the long flight. A longer session would be welcome on the menu."),
    ),
    "Sauna": (
        (5, "Small but completely private, and the herbal steam smells like a summer in the mountains."),
        (5, "We came for our anniversary. There was tea and fruit, and nobody knocked too early."),
        (4, "Good heat, ice-cold plunge. The towels are on the thin side."),
        (3, "We had it for an hour, and it took twenty minutes to get properly hot."),
    ),
    "class": (
        (5, "My favourite hour of the week. Challenging, but there is always an easier option shown first."),
        (5, "Small group, clear instructions, real corrections. You are not just a mat among many."),
        (5, "I am sixty-eight and was worried about keeping up. No need. Kind people of every age."),
        (5, "Wonderful teacher with a dry sense of humour. I laughed in the hardest position, which is quite a feat."),
        (5, "My knee is tricky, and there was a variation for everything without my asking."),
        (4, "A really good class, only the changing room is tiny. Come in your leggings."),
        (4, "Good pace, precise cues. When the room is full it gets rather warm."),
        (4, "Cancelling on the website was easy when my child fell ill, and the new date was free at once."),
        (3, "Good teacher, but the substitute last week seemed to be reading from a list."),
        (2, "The class was shortened by a quarter of an hour and nobody said why."),
    ),
    "Vinyasa": (
        (5, "This flow beats any coffee. I never thought I would write that of yoga."),
        (5, "Everything is there: mats, blocks, straps, blankets. Just bring yourself."),
        (4, "Nice flow, though some poses were assumed to be known. The description does say so."),
        (3, "Fine for beginners. I had hoped for a little more sweat."),
        (2, "Twelve people on twelve mats is simply too close for me. Ten would be plenty."),
        (1, "I stood in front of a locked door. I did get my money back, but not my sleep."),
    ),
    "Yin": (
        (5, "Left my phone in the locker and did not think of it for seventy-five minutes. Pure rest."),
        (5, "Candlelight, two blankets, rain on the windows. Evenings do not get better."),
        (4, "Very calming. The last five minutes were rushed because somebody was waiting for the room."),
        (3, "Nice enough, but two people came late and the door opened right into the resting pose."),
    ),
    "Pilates": (
        (5, "Stronger after six weeks than after a year of the gym. My posture has admirers."),
        (4, "Tough and fair. I would love a second class for beginners."),
    ),
    "Mat Pilates": (
        (5, "Saved my back and my afternoons. At my desk again by half past one, showered."),
        (4, "Does what it says, right in the middle of the day. Short, though."),
    ),
    "Reformer": (
        (5, "First time on a reformer and I was looked after the whole time. Already booked the next one."),
        (4, "Great class. The springs of number four squeak."),
        (3, "Good, but at this price I expect to be told beforehand about the socks."),
    ),
    "rental": (
        (5, "Moved half a flat with it in three days. The battery lasted, my legs did too."),
        (5, "Two children, one dog, one lake. We did not miss the car once."),
        (5, "Collected after my class, brought back before the next one. It could not be easier."),
        (5, "The desk adjusted the saddle and explained the lock. Off we went within five minutes."),
        (4, "Great bike, heavy on cobblestones. A second lock would be good."),
        (4, "Everything as promised. I would have liked a rain cover for the box."),
        (4, "Good value for a long weekend, if you remember that they are closed on Sundays."),
        (3, "Fine, but the battery was only half full when I collected it."),
        (3, "The box rattles. Nobody could say why, so now I know every screw of it."),
    ),
}


def find_review_texts(service: ServiceSpec) -> list[tuple[int, str]]:
    """Return the ratings and comments that fit this service."""
    return [
        review
        for word, reviews in REVIEW_TEXTS.items()
        if word == service.kind or word in service.title
        for review in reviews
    ]
