"""The peer: the same job done the usual way, with Flask, SQLAlchemy and gunicorn."""

import os

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import Integer, String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

app = Flask(__name__)
engine = create_engine(f"sqlite:///{os.environ['FX_DATABASE']}")


class Base(DeclarativeBase):
    """The base of the tables."""


class Day(Base):
    """A stored day."""

    __tablename__ = "days"
    date: Mapped[str] = mapped_column(String, primary_key=True)
    base: Mapped[str] = mapped_column(String)
    timestamp: Mapped[int] = mapped_column(Integer)


class Rate(Base):
    """The value of one currency on one day."""

    __tablename__ = "rates"
    date: Mapped[str] = mapped_column(String, primary_key=True)
    currency: Mapped[str] = mapped_column(String, primary_key=True)
    rate: Mapped[float]


@app.get("/rates/<date>/")
def rates(date: str) -> ResponseReturnValue:
    """Return the rates of one day, as the API does."""
    with Session(engine) as session:
        day = session.get(Day, date)
        if day is None:
            return jsonify(success=False), 404
        rows = session.scalars(select(Rate).where(Rate.date == date).order_by(Rate.currency))
        found = {row.currency: row.rate for row in rows}
        return jsonify(
            success=True,
            timestamp=day.timestamp,
            historical=True,
            base=day.base,
            date=day.date,
            rates=found,
        )
